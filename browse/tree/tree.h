#pragma once

#include <sys/stat.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "browse/cache.h"
#include "browse/diff.h"
#include "browse/snapshot.h"
#include "browse/tree/data.h"
#include "browse/tree/node.h"

namespace faultline::browse {

// The files of one folder, in the order in which they are listed.
class Folder {
 public:
  struct Entry {
    std::string name;
    Node node;
  };
  virtual ~Folder() = default;
  virtual size_t count() const = 0;
  virtual Entry at(size_t number) const = 0;
  // nullopt: there is no such file.
  virtual std::optional<Node> find(std::string_view name) const;
};

// A checkpoint as a tree of files: which there are, what stands in them. Knows nothing of FUSE. Safe from any thread.
// What cannot be read is an error with a reason, which is noted (Snapshot::note), and the rest stays usable.
class Tree {
 public:
  struct Options {
    uid_t uid = 0;  // the owner of everything
    gid_t gid = 0;
    bool for_all = false;  // readable for everybody
    bool far = false;      // the images are elsewhere: whatever is read may take long
    Snapshot* against = nullptr;  // an older checkpoint, which diff/ compares this one with
  };
  // The snapshots must outlive the tree.
  Tree(Snapshot& snapshot, const Options& options);

  Snapshot& snapshot() const { return snapshot_; }

  // What kind of file it is: S_IFDIR, S_IFREG or S_IFLNK.
  static mode_t type_of(Node node);
  // True if stat() needs to make the contents first: texts.
  static bool costly(Node node);
  // True if stat(), open() or find() may take long.
  bool slow(Node node) const { return options_.far || costly(node); }
  // True if reading may.
  bool far() const { return options_.far; }
  // True for what has holes that cannot be read: all of the memory of a process.
  static bool sparse(Node node) { return node.kind == NodeKind::kMem; }

  // Errors of all of these: ENOENT if there is no such thing, EIO if it cannot be read.
  Result<std::unique_ptr<Folder>> folder(Node node);
  Result<Node> find(Node folder, std::string_view name);
  Result<struct stat> stat(Node node);
  Result<std::string> link(Node node);
  Result<FileDataPtr> open(Node node);

  // The total size of the images, bytes.
  uint64_t image_bytes() const { return image_bytes_; }

 private:
  struct Thread {
    const Snapshot::Process* process;
    uint32_t tid;
  };
  // Errors: ENOENT for a number that no process, thread or descriptor has.
  Result<const Snapshot::Process*> process(Node node) const;
  Result<Thread> thread(Node node) const;
  Result<image::FdinfoEntry> descriptor(Node node);
  // True for a zombie, which has no memory and no files.
  bool dead(const Snapshot::Process& process);

  Result<std::unique_ptr<Folder>> make_folder(Node node);
  Result<std::unique_ptr<Folder>> make_task_folder(Node node);
  Result<std::unique_ptr<Folder>> objects(uint32_t table);
  Result<std::shared_ptr<const std::vector<std::string>>> object_names(uint32_t table);
  Result<std::string> make_link(Node node);
  Result<FileDataPtr> make_data(Node node);
  Result<FileDataPtr> make_memory(Node node);
  Result<FileDataPtr> make_object(Node node);
  Result<std::string> make_text(Node node);
  Result<std::string> task_text(Node node);
  Result<std::string> image_text(Node node);
  // What takes time to make: kept for a while.
  Result<FileDataPtr> kept(Node node);
  Result<FileDataPtr> make_kept(Node node);
  // diff_tree.cc: what belongs to diff/.
  Result<std::unique_ptr<Folder>> make_diff_folder(Node node);
  Result<FileDataPtr> make_diff_run(Node node);
  Result<std::string> diff_text_of(Node node);
  Result<std::shared_ptr<const ProcessDiff>> diff_of(uint32_t number);
  // Notes a failure and makes of it what a reader is told: EIO.
  Failure told(const Error& failure);

  Snapshot& snapshot_;
  const Options options_;
  uint64_t image_bytes_ = 0;
  std::vector<uint32_t> diff_pids_;  // of both checkpoints
  Cache texts_;  // and lists of names
};

// "7f12a000-7f12b000.libc.so.6": the name of an area's file.
std::string area_name(const AddressSpace::Area& area);

}  // namespace faultline::browse
