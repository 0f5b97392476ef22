#pragma once

#include <fcntl.h>
#include <sys/stat.h>

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/agent/program.h"
#include "core/image/checkpoint.h"
#include "core/objects/files.h"
#include "core/objects/unix_diag.h"

// What the kinds of open files have in common. Private to core/objects; others use files.h.
namespace faultline::objects {

// One descriptor of a frozen process, looked at from outside.
struct FdView {
  pid_t pid = 0;        // of the process
  pid_t tid = 0;        // a living thread of it, for /proc and kcmp(2) (the leader may have ended before the others)
  int number = 0;
  UniqueFd copy;        // of the same open file description: its offset and flags are the program's, so nothing may be changed through it
  struct stat st = {};
  std::string link;     // where /proc/PID/fd/N leads
  std::string fdinfo;   // all of it
  uint64_t pos = 0;
  uint32_t flags = 0;   // of the file, without O_CLOEXEC
  bool cloexec = false;

  // Errors: those of pidfd_getfd(2) and of /proc. `pidfd` is of the thread `tid`.
  static Result<FdView> take(pid_t pid, pid_t tid, int pidfd, int number);

  bool only_path() const { return flags & O_PATH; }
  uint32_t access() const { return flags & O_ACCMODE; }
  // "pid 12: descriptor 5 (pipe:[123])"
  std::string name() const;
  // A path through which the same file can be opened once more.
  std::string reach() const { return fmt::format("/proc/self/fd/{}", copy.get()); }
  // ENOTSUP: "pid 12: descriptor 5 (pipe:[123]) cannot be checkpointed: why"
  Failure refuse(std::string_view why) const;
  // The value of the line "name: value" of fdinfo.
  std::optional<std::string> line(std::string_view name) const;
};

// Contents of a deleted file, to be stored with the checkpoint.
struct Ghost {
  uint32_t id;
  struct stat st;
  UniqueFd fd;            // readable, for regular files
  std::string target;     // of a symbolic link
};

// What the dump has found so far: the entries of the images, and what the kinds must remember.
struct Collected {
  FilePolicy policy;
  std::vector<pid_t> pids;
  std::vector<image::FileEntry> files;
  uint32_t last_id = 0;
  struct Holder { pid_t pid; pid_t tid; int number; };
  std::map<uint32_t, std::vector<Holder>> holders;       // of each file id: the descriptors that refer to it
  std::map<std::pair<pid_t, int>, uint32_t> by_number;   // the file id of each descriptor

  std::vector<image::RemapFilePathEntry> remaps;
  std::vector<Ghost> ghosts;
  std::map<std::pair<dev_t, ino_t>, uint32_t> ghost_of;
  std::vector<image::PipeData> pipes, fifos;
  std::map<uint32_t, bool> pipe_done;                    // by pipe_id: contents are stored
  struct PipeSide { std::string first; bool read = false, write = false, other_readers = false, other_writers = false; };
  std::map<uint32_t, PipeSide> pipe_sides;
  struct FifoState { bool stored = false; std::string unread; };
  std::map<uint32_t, FifoState> fifo_states;             // by pipe_id
  struct TtyState { std::string first; int unread = 0; };
  std::map<uint32_t, TtyState> tty_states;               // by tty id
  std::vector<image::SocketPacket> packets;
  std::map<uint32_t, UnixDiag> unix_sockets;             // of our network namespace, once unix_listed
  bool unix_listed = false;
  std::vector<image::MemfdInodeEntry> memfds;
  std::map<std::pair<dev_t, ino_t>, uint32_t> memfd_of;  // inode_id
  std::vector<SharedObject> shared;
  std::vector<image::TtyInfoEntry> ttys;

  std::map<uint32_t, size_t> place;                      // of each file id in `files`
  void add(image::FileEntry entry);
  const image::FileEntry* file(uint32_t id) const;
};

// Open files of the restore. They are opened by the coordinator and inherited.
struct Rebuild {
  const image::Checkpoint& checkpoint;
  const image::ImageDir& dir;
  FilePolicy policy;
  int first_fd = 0;
  std::set<uint32_t> paths_only;                 // REG entries that only say the path of another entry, or of a remap
  std::map<uint32_t, UniqueFd> open;             // by file id, all at numbers >= first_fd

  struct Ends { UniqueFd read, write; bool read_given = false, write_given = false; };
  std::map<uint32_t, Ends> pipes;                // by pipe_id
  std::map<uint32_t, UniqueFd> fifos;            // by pipe_id, for both directions
  std::map<uint32_t, UniqueFd> memfds;           // by inode_id
  std::map<uint32_t, UniqueFd> sockets;          // unix sockets made together with their peers, by file id
  std::map<uint32_t, UniqueFd> masters;          // of ptys, by index
  std::map<uint32_t, UniqueFd> slaves;           // a slave of each, so that settings are kept until the first real one is open
  struct GhostFile { std::string path; bool directory; };
  std::map<uint32_t, GhostFile> ghosts;          // made so far, by ghost id
  std::vector<std::function<Result<void>()>> at_the_end;  // run when everything is open

  // The same descriptor at a number that no restored process uses.
  Result<UniqueFd> out_of_the_way(UniqueFd fd, std::string_view what) const;
  // The number that a process has for a file, if it has one.
  static std::optional<uint32_t> number_of(const image::Task& task, uint32_t file_id);
  // The first process of the tree that has it; relations of a file are made there, once.
  const image::Task* first_holder(uint32_t file_id) const;
};

// One kind of open file: how it is collected and how it is made again. Stateless; what must be remembered stands in Collected and Rebuild.
class FileKind {
 public:
  virtual ~FileKind() = default;
  virtual image::FdTypes type() const = 0;
  // Dump. `entry` has type and id set; its member is filled in. Errors: ENOTSUP from FdView::refuse.
  virtual bool recognises(const FdView& fd) const = 0;
  virtual Result<void> collect(const FdView& fd, Collected& collected, image::FileEntry& entry) const = 0;
  // Once, when all descriptors of the tree are known: what can only be told then.
  virtual Result<void> complete(Collected&) const { return {}; }

  // Restore. check() is called before anything is made; recreate() makes the file with its offset, flags and contents, and must not block.
  virtual Result<void> check(const image::FileEntry& entry, const Rebuild& rebuild) const = 0;
  virtual Result<UniqueFd> recreate(const image::FileEntry& entry, Rebuild& rebuild) const = 0;
  // Operations for one process that has the file at `number`, when the whole tree is there.
  virtual void relations(const image::FileEntry&, uint32_t /*number*/, const image::Task&, const Rebuild&, agent::Program&) const {}
};

// All kinds, the more particular ones first.
std::span<const FileKind* const> file_kinds();
const FileKind* kind_of(image::FdTypes type);

// Who is told by a signal (F_SETOWN_EX, F_SETSIG). Zero for O_PATH descriptors, which have none.
Result<image::FownEntry> owner_of(const FdView& fd);
// The owner that an entry has; nullptr for an entry without its member.
const image::FownEntry* owner_of(const image::FileEntry& entry);
// The status flags that an entry has (O_RDWR, O_APPEND, ...).
uint32_t flags_of(const image::FileEntry& entry);
// The inode by which the file was known at dump, where the images tell it: pipes, sockets.
std::optional<uint64_t> inode_of(const image::FileEntry& entry);

// A status flag that every open(2) of a 64-bit program sets (the kernel's O_LARGEFILE), but pipe(2), openpty(3) and the like do not.
inline constexpr uint32_t kOpenedFile = 0100000;

// F_SETFL with what can be set afterwards (not FASYNC, which needs the owner first).
Result<void> set_status_flags(int fd, uint32_t flags, std::string_view what);
// Opens the file behind one of our descriptors once more, with flags of its own.
Result<UniqueFd> reopen(int fd, uint32_t flags, std::string_view what);
// The part of recorded flags with which a path can be opened without side effects.
uint32_t open_flags(uint32_t recorded);

// An open path for the image, wherever it was found.
struct OpenedPath {
  std::string who;       // for messages: "pid 12: descriptor 5 (/tmp/x)"
  std::string link;      // the path as /proc shows it, perhaps with " (deleted)"
  std::string reach;     // a path under /proc that leads to the file itself
  struct stat st;
  uint32_t flags;
  uint64_t pos;
  image::FownEntry fown;
};
// Fills a REG entry, adding a remap and a ghost for a deleted file. regular_file.cc
Result<image::RegFileEntry> collect_path(const OpenedPath& path, uint32_t id, Collected& collected);
// A REG entry of its own for the path of a FIFO or a terminal; gives its id.
Result<uint32_t> collect_path_of(const FdView& fd, Collected& collected);
// ghost.cc
Result<void> collect_ghost(const OpenedPath& path, const std::string& name, uint32_t id, Collected& collected);
Result<void> write_ghosts(const Collected& collected, const image::ImageDir& dir);
const image::RemapFilePathEntry* remap_of(uint32_t file_id, const image::Checkpoint& checkpoint);
// Opens the file of a REG entry that has a remap.
Result<UniqueFd> open_remapped(const image::RegFileEntry& entry, const image::RemapFilePathEntry& remap, Rebuild& rebuild);
Result<void> check_remapped(const image::RegFileEntry& entry, const image::RemapFilePathEntry& remap, const Rebuild& rebuild);
// Removes the names that were made for ghosts.
void remove_ghost_names(Rebuild& rebuild);

// The contents of a pipe or FIFO whose readable end is `fd`, without taking them out: one piece, or one for each packet. Also an empty
// pipe has a piece, for its capacity. `who` is for messages. pipe.cc
Result<std::vector<image::PipeData>> peek_pipe(int fd, uint32_t pipe_id, const std::string& who);
// Puts the pieces of this pipe in, and sets the capacity.
Result<void> fill_pipe(int write_fd, uint32_t pipe_id, const std::vector<image::PipeData>& all);

// memfd.cc: the inode_id of a memory object, made known on first sight.
Result<uint32_t> collect_memory(const std::string& reach, const std::string& link, const struct stat& st, const std::string& who, Collected& collected);
Result<void> seal_memory(const Rebuild& rebuild);

}  // namespace faultline::objects
