#pragma once

#include <ctime>
#include <memory>
#include <string>
#include <vector>

#include "browse/stored_pages.h"
#include "core/image/image_dir.h"

namespace faultline::browse {

// The files of one checkpoint, wherever they are. Safe from any thread.
class Images {
 public:
  struct File {
    std::string name;
    uint64_t size;   // bytes
    timespec mtime;  // of what comes from a page server: when the list was fetched
  };

  virtual ~Images() = default;

  // What the checkpoint is called in messages: its directory, or its URL.
  virtual const std::string& name() const = 0;
  // All regular files, sorted by name. As they were when the checkpoint was opened.
  virtual const std::vector<File>& files() const = 0;
  const File* file(std::string_view name) const;  // nullptr if there is none
  // The directory in which image `name` can be read now; fetches it if need be. Not for pagemaps and pages: memory() has these.
  // Errors: ENOENT only where reading is what tells (an absent file in a directory is found by whoever opens it); those of fetching.
  virtual Result<const image::ImageDir*> with(const std::string& name) = 0;
  // Reads one of files() as it is. Gives fewer bytes only at the end of the file. Errors: EIO, those of fetching.
  Result<size_t> read_raw(const File& file, uint64_t offset, std::span<std::byte> to);
  // The pages that are stored for the memory of a process ("pagemap-PID.img"), or for shared memory ("pagemap-shmem-ID.img").
  // Errors: ENOENT if there is no such image.
  virtual Result<std::shared_ptr<const StoredPages>> memory(const std::string& pagemap) = 0;
};

// The checkpoint in `dir`, whole or not.
Result<std::unique_ptr<Images>> images_in(const std::string& dir);

}  // namespace faultline::browse
