#pragma once

#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "browse/mapped_file.h"
#include "browse/stored_pages.h"
#include "core/image/checkpoint.h"

namespace faultline::browse {

// The memory of one process, as it would be after a restore. Immutable; safe from any thread. Addresses are bytes in the process.
class AddressSpace {
 public:
  enum class Kind {
    kHole,    // no area is here
    kZero,    // never touched, or zeros: not stored
    kStored,  // in the pages of the process
    kShared,  // in the pages of a shared object
    kFile,    // unchanged contents of a mapped file
    kLost,    // should be there, but the images (or the mapped file) do not have it
  };
  // Consecutive bytes of one kind, and consecutive where they come from. Page aligned, unless it ends with a mapped file.
  struct Run {
    Vaddr start, end;
    Kind kind;
    const StoredPages* pages = nullptr;  // of kStored and kShared
    image::Extent extent = {};           // there: begins with the byte that stands at `start`
    const MappedFile* file = nullptr;    // of kFile
    uint64_t offset = 0;                 // there: of the byte at `start`

    bool has_data() const { return kind != Kind::kHole && kind != Kind::kZero; }
  };
  struct Area {
    const image::VmaEntry* vma;
    std::shared_ptr<const StoredPages> shared;  // the object, of shared anonymous memory; nullptr if it cannot be read
    std::shared_ptr<const MappedFile> file;     // nullptr: none is mapped, or it cannot be used
    std::string path;                           // as maps shows it: "/usr/bin/x", "/memfd:x (deleted)", "[heap]"; empty
  };

  // `areas` sorted, without overlaps. `mm` holds what they point to. `pages`: nullptr if they cannot be read, then all of them are lost.
  AddressSpace(std::shared_ptr<const image::MmEntry> mm, std::vector<Area> areas, std::shared_ptr<const StoredPages> pages);

  const image::MmEntry& mm() const { return *mm_; }
  std::span<const Area> areas() const { return areas_; }
  // nullptr if no area is there.
  const Area* area_at(Vaddr at) const;
  // What is wrong with the pages of the process; empty: nothing.
  std::string damage() const;

  // The run that begins at `at` (any byte below 2^64 - 1), at most up to `limit`.
  Run run_at(Vaddr at, Vaddr limit) const;
  // Where data (or a hole: kHole and kZero) next begins at or after `at`; `limit` if nowhere before it. For SEEK_DATA and SEEK_HOLE.
  Vaddr next(bool data, Vaddr at, Vaddr limit) const;
  // Fills `to` with what stands from `at` on, up to the first byte of a hole or of what is lost; gives how much that was.
  // Errors: EIO if the very first byte is such a one, with the reason.
  Result<size_t> read(Vaddr at, std::span<std::byte> to) const;

 private:
  Run in_area(const Area& area, Vaddr at, Vaddr limit) const;

  std::shared_ptr<const image::MmEntry> mm_;
  std::vector<Area> areas_;
  std::shared_ptr<const StoredPages> pages_;
};

}  // namespace faultline::browse
