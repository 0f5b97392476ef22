#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/base/mapping.h"
#include "core/base/result.h"
#include "core/image/checkpoint.h"

namespace faultline::lazy {

// Consecutive pages whose contents stand consecutively in one pages file.
struct Extent {
  Vaddr vaddr;      // of the first page
  uint64_t pages;
  uint64_t offset;  // in the file, bytes
  uint32_t file;    // number the caller gave the file

  Vaddr end() const { return vaddr + pages * kPageSize; }
};

// One pagemap of a chain of incremental dumps.
struct PagemapLayer {
  const image::Pagemap* map;
  uint32_t file;
  uint64_t file_size;  // bytes
  std::string name;    // for messages
};

// Where the contents of every page of one address space, or of one shared object, are to be found.
// Immutable once built; safe to read from any thread. Addresses are bytes in the dumped process (in the object, if shared).
class PageIndex {
 public:
  // Builds the index from the newest pagemap and its parents (oldest last).
  // Errors: EBADMSG if entries overlap, run backwards, point past the end of their pages file or to pages that no parent has;
  // ENOTSUP for pages that are not stored but served by another host.
  static Result<PageIndex> build(std::span<const PagemapLayer> newest_first);
  // From extents that are sorted and do not overlap.
  static PageIndex adopt(std::vector<Extent> extents);

  // The run that holds `vaddr`, cut so that it starts there; nullopt where the page was never stored (it reads as zero).
  std::optional<Extent> find(Vaddr vaddr) const;
  // The extents that touch [start, end), whole.
  std::span<const Extent> overlapping(Vaddr start, Vaddr end) const;
  uint64_t pages() const { return pages_; }

 private:
  std::vector<Extent> extents_;
  uint64_t pages_ = 0;
};

}  // namespace faultline::lazy
