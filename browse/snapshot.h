#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "browse/address_space.h"
#include "browse/cache.h"
#include "browse/images.h"
#include "core/image/checkpoint.h"

namespace faultline::browse {

// A checkpoint to be looked at: whole, unfinished or damaged. Only the inventory and the list of processes are read when it is opened; the rest
// when it is asked for. What was read is kept for a while, within kCacheBytes. What cannot be read is an error for that part alone, and is
// logged once. Safe from any thread.
class Snapshot {
 public:
  struct Process {
    uint32_t pid, ppid, pgid, sid;   // as in the images; ppid 0: the root
    std::vector<uint32_t> threads;   // the leader first
    std::vector<size_t> children;    // numbers in processes()
  };
  using Files = std::map<uint32_t, image::FileEntry>;  // by file id
  // Deleted files and the like: by the id of the file entry that cannot be opened by its path.
  using Remaps = std::map<uint32_t, image::RemapFilePathEntry>;

  // Errors: ENOENT if there is neither an inventory nor a list of processes: that is no checkpoint.
  static Result<std::unique_ptr<Snapshot>> open(std::unique_ptr<Images> images);

  Images& images() const { return *images_; }
  const std::string& name() const { return images_->name(); }
  // Sorted by pid. A list that is damaged counts as far as it can be read; processes whose images lie around without one are added, without parents.
  std::span<const Process> processes() const { return processes_; }
  const Process* process(uint32_t pid) const;  // nullptr if there is none
  // nullptr: missing or unreadable, as in the images of a dump that did not come to its end.
  const image::InventoryEntry* inventory() const { return inventory_ ? &*inventory_ : nullptr; }
  // The time of the dump: of the inventory, or else of the newest image.
  timespec time() const { return time_; }
  // What was found wrong when it was opened.
  const std::vector<std::string>& damage() const { return damage_; }

  // Errors of all of these: ENOENT if the image is missing, EBADMSG if it is malformed; a dead process has only a core.
  template <typename T>
  using Shared = Result<std::shared_ptr<const T>>;
  Shared<image::CoreEntry> core(uint32_t tid);
  Shared<image::TaskKobjIdsEntry> ids(uint32_t pid);
  Shared<image::MmEntry> mm(uint32_t pid);
  Shared<image::FsEntry> fs(uint32_t pid);
  Shared<std::vector<image::FdinfoEntry>> fds(uint32_t pid);  // sorted by number
  Shared<Files> files();
  Shared<Remaps> remaps();
  Shared<std::vector<image::MemfdInodeEntry>> memfds();
  Shared<AddressSpace> memory(uint32_t pid);
  // The numbers of the shared memory objects that have a pagemap.
  std::vector<uint32_t> shared_objects() const;
  Shared<StoredPages> shared_pages(uint64_t shmid);
  // All entries of an image without payloads; none if it is missing. Not kept.
  template <typename Message>
  Result<std::vector<Message>> entries(const std::string& file, const image::Kind& kind) {
    return image::read_all<Message>(*TRY(images_->with(file)), file, kind, v1_);
  }
  // For images with payloads.
  Result<image::Reader> reader(const std::string& file, const image::Kind& kind) {
    return image::Reader::open(*TRY(images_->with(file)), file, kind, v1_);
  }

  // Keeps what is made of images elsewhere, in the same way. `weight`: about its bytes.
  template <typename T>
  Shared<T> cached(const std::string& key, size_t weight, const std::function<Shared<T>()>& make) { return cache_.get<T>(key, weight, make); }

  // The path of a file as /proc shows it ("/x", "/x (deleted)", "pipe:[123]", "socket:[5]", "anon_inode:[eventfd]", "/memfd:name (deleted)").
  std::string path_of(uint32_t file_id);

  // Logs a failure, each text once. For whoever turns it into EIO.
  void note(const Error& failure);

 private:
  explicit Snapshot(std::unique_ptr<Images> images);
  void load_processes();
  template <typename T, typename Make>
  Shared<T> kept(const std::string& file, const Make& make);
  template <typename Message>
  Shared<Message> one(const std::string& file, const image::Kind& kind);
  Shared<StoredPages> pages(const std::string& pagemap);
  Shared<MappedFile> mapped_file(const image::RegFileEntry& entry);
  // Finds what is below the pages that the process has of its own.
  void back_area(AddressSpace::Area& area);
  std::string path_of_area(const image::MmEntry& mm, const image::VmaEntry& vma);

  const std::unique_ptr<Images> images_;
  bool v1_ = false;  // the old format, without a common head
  std::optional<image::InventoryEntry> inventory_;
  std::vector<Process> processes_;
  timespec time_ = {};
  std::vector<std::string> damage_;
  Cache cache_;
  std::mutex noted_mutex_;
  std::set<std::string> noted_;
};

}  // namespace faultline::browse
