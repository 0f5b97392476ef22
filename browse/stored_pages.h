#pragma once

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "core/base/unique_fd.h"
#include "core/image/page_index.h"

namespace faultline::browse {

// The pages that the images have of one object: of the memory of a process (by address), or of shared memory (by offset). Parents are resolved.
// Immutable; safe from any thread.
class StoredPages {
 public:
  virtual ~StoredPages() = default;

  // What the images say, also of damaged ones: pages that should be there and are not have an extent with file kLostFile.
  const image::PageIndex& index() const { return index_; }
  // What is wrong with the images; empty: nothing.
  const std::string& damage() const { return damage_; }

  // A run of bytes that stands in a file, to be copied without passing through us.
  struct Place {
    int fd;           // valid as long as this object
    uint64_t offset;  // bytes
  };
  // Where the bytes of `extent`, one of the index (or a part of one), stand. nullopt: only read() can tell, or they are lost.
  virtual std::optional<Place> place(const image::Extent& extent) const = 0;

  // Who has the bytes of `extent`. A page server does not tell its checkpoint from those below.
  enum class Keeper { kCheckpoint, kParent, kElsewhere, kNobody };
  virtual Keeper keeper(const image::Extent& extent) const { return extent.lost() ? Keeper::kNobody : Keeper::kCheckpoint; }

  // Reads what stands at `at`; all of [at, at + to.size()) lies in `extent`, one of the index (or a part of one).
  // Errors: EIO with a reason for what the images do not have; those of reading.
  virtual Result<void> read(const image::Extent& extent, Vaddr at, std::span<std::byte> to) const = 0;

 protected:
  StoredPages(image::PageIndex index, std::string damage) : index_(std::move(index)), damage_(std::move(damage)) {}

 private:
  const image::PageIndex index_;
  const std::string damage_;
};

// From the images in a directory. A damaged pagemap counts as far as it can be read: what it might have said of higher addresses is lost.
// Errors: ENOENT.
Result<std::shared_ptr<const StoredPages>> stored_pages_in(const image::ImageDir& dir, const std::string& pagemap);

}  // namespace faultline::browse
