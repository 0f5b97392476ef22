#pragma once

#include <sys/stat.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/agent/program.h"
#include "core/base/unique_fd.h"
#include "core/image/checkpoint.h"

namespace faultline::objects {

// What of the command line matters to files.
struct FilePolicy {
  bool shell_job = false;               // the session and the terminal may belong to an outside shell
  uint64_t ghost_limit = 1 << 20;       // bytes; larger deleted files are refused
  bool evasive_devices = false;         // accept any path that leads to the same device
  bool validate_size = true;            // compare sizes and modes of opened files with the image's
  bool validate_mode = true;
};

// A memory object whose contents are to be stored in pagemap-shmem-<shmid>.img: memfd or shared anonymous memory.
struct SharedObject {
  uint32_t shmid;
  uint64_t size;
  UniqueFd fd;  // readable
};

// Dump side: finds every open file description of the tree once, however many descriptors, tasks and mappings refer to it.
// The tasks are frozen. Collecting changes nothing in them (a queue is peeked at, not emptied).
class FileCollector {
 public:
  explicit FileCollector(const FilePolicy& policy);
  ~FileCollector();

  // The processes of the tree, before anything is collected: needed to tell what is shared only inside the tree.
  Result<void> tasks(std::vector<pid_t> pids);
  // Collects the descriptor table of a process. `pidfd` belongs to the caller. Errors: ENOTSUP naming pid, descriptor and reason.
  Result<std::vector<image::FdinfoEntry>> descriptors(pid_t pid, int pidfd);
  // The file id of a REG entry for a file that a process refers to otherwise: /proc/PID/{exe,cwd,root}, map_files/…. `link` is that
  // path under /proc, `flags` the open flags to record. One id for each (device, inode, path, flags).
  Result<uint32_t> path_file(const std::string& link, uint32_t flags);
  // The file id of a MEMFD entry for the memfd or shared anonymous memory behind a link of map_files.
  Result<uint32_t> shared_memory(const std::string& map_files_link, uint32_t flags);
  // To be called once, when all processes are collected: refuses what reaches outside the tree. Errors: ENOTSUP.
  Result<void> complete();
  // The objects whose contents must be stored; valid after all processes are collected.
  std::vector<SharedObject> take_shared_objects();
  // Writes files.img, remap-fpath, ghost files, memfd, pipes-data, fifo-data, sk-queues, tty-info, tty-data.
  Result<void> write(const image::ImageDir& dir);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Restore side. The coordinator opens every open file description once; processes get theirs by fork and dup3.
class FileRebuilder {
 public:
  // `checkpoint` and `dir` must outlive the rebuilder. Checks everything that can be refused before the first process exists
  // (missing files, changed sizes, unknown kinds). Opens nothing for good.
  static Result<FileRebuilder> plan(const image::Checkpoint& checkpoint, const image::ImageDir& dir, const FilePolicy& policy);
  FileRebuilder(FileRebuilder&&) noexcept;
  ~FileRebuilder();

  // Opens all files, each at a number >= first_fd (which is above every number in use in the tree and here). Contents of pipes, queues,
  // memfds' sizes (not contents) are put in. The descriptors stay ours until close_all().
  Result<void> open_all(int first_fd);
  // Our number of a file; valid between open_all and close_all. For mappings (opened with the access that the mapping needs).
  int fd_of(uint32_t file_id) const;
  // Memory objects, to be filled through these descriptors (which stay ours) before the tree runs.
  std::vector<std::pair<uint32_t /*shmid*/, int /*fd*/>> shared_objects() const;
  // Seals etc. that must come after the contents.
  Result<void> seal();

  // Adds the operations that give a process its descriptor table: dup3 of what it has, close of all other numbers below first_fd,
  // close-on-exec flags. Runs in the leader while it still is the only thread. What is open from first_fd on stays open, for mappings;
  // the caller closes it later with one close_range(2).
  void rebuild_descriptors(const image::Task& task, agent::Program& program) const;
  // Operations that need the whole tree to be there (file owners, epoll targets, controlling terminal, foreground group).
  void rebuild_relations(const image::Task& task, agent::Program& program) const;
  // For people: one line per open file.
  std::string describe() const;
  void close_all();

 private:
  struct State;
  explicit FileRebuilder(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace faultline::objects
