#include "lazy/page_index.h"

#include <algorithm>

namespace faultline::lazy {

namespace {

// Appends, joining what is consecutive in memory and in the file.
void append(std::vector<Extent>& to, const Extent& e) {
  if (!to.empty()) {
    Extent& last = to.back();
    if (last.end() == e.vaddr && last.file == e.file && last.offset + last.pages * kPageSize == e.offset) {
      last.pages += e.pages;
      return;
    }
  }
  to.push_back(e);
}

std::span<const Extent> overlapping_in(std::span<const Extent> sorted, Vaddr start, Vaddr end) {
  const auto first = std::partition_point(sorted.begin(), sorted.end(), [&](const Extent& e) { return e.end() <= start; });
  const auto last = std::partition_point(first, sorted.end(), [&](const Extent& e) { return e.vaddr < end; });
  return {first, last};
}

// Takes the pages of [start, end) from `parent` over, which must have all of them.
Result<void> inherit(std::vector<Extent>& to, std::span<const Extent> parent, Vaddr start, Vaddr end, const std::string& name) {
  Vaddr at = start;
  for (const Extent& e : overlapping_in(parent, start, end)) {
    if (e.vaddr > at) break;
    const Vaddr stop = std::min(end, e.end());
    append(to, {.vaddr = at, .pages = (stop - at) / kPageSize, .offset = e.offset + (at - e.vaddr), .file = e.file});
    at = stop;
  }
  if (at < end) return error(EBADMSG, "{}: the page at {:#x} should be in a parent checkpoint, which does not have it", name, at);
  return {};
}

Result<std::vector<Extent>> resolve(const PagemapLayer& layer, std::span<const Extent> parent) {
  std::vector<Extent> extents;
  Vaddr previous_end = 0;
  uint64_t offset = 0;
  for (const image::PagemapEntry& entry : layer.map->entries) {
    const uint64_t pages = entry.nr_pages.value_or(entry.compat_nr_pages);
    const uint32_t flags = entry.in_parent.value_or(false) ? image::kPageParent : entry.flags.value_or(image::kPagePresent);
    if (entry.vaddr % kPageSize != 0 || entry.vaddr < previous_end)
      return error(EBADMSG, "{}: the run of pages at {:#x} is out of order or overlaps the one before it", layer.name, entry.vaddr);
    if (pages > (UINT64_MAX - entry.vaddr) / kPageSize)
      return error(EBADMSG, "{}: the run of {} pages at {:#x} is longer than any address space", layer.name, pages, entry.vaddr);
    previous_end = entry.vaddr + pages * kPageSize;
    if (flags & image::kPagePresent) {
      if (pages > (layer.file_size - offset) / kPageSize)
        return error(EBADMSG, "{}: the run of {} pages at {:#x} reaches past the end of its pages file", layer.name, pages, entry.vaddr);
      append(extents, {.vaddr = entry.vaddr, .pages = pages, .offset = offset, .file = layer.file});
      offset += pages * kPageSize;
    } else if (flags & image::kPageParent) {
      TRY(inherit(extents, parent, entry.vaddr, previous_end, layer.name));
    } else if (flags & image::kPageLazy) {
      return error(ENOTSUP, "{}: the pages at {:#x} are not in the images but with the host of the dump; fetching them is not supported",
                   layer.name, entry.vaddr);
    }
  }
  return extents;
}

}  // namespace

Result<PageIndex> PageIndex::build(std::span<const PagemapLayer> newest_first) {
  std::vector<Extent> extents;
  for (size_t i = newest_first.size(); i-- > 0;) extents = TRY(resolve(newest_first[i], extents));
  return adopt(std::move(extents));
}

PageIndex PageIndex::adopt(std::vector<Extent> extents) {
  PageIndex index;
  for (const Extent& e : extents) index.pages_ += e.pages;
  index.extents_ = std::move(extents);
  return index;
}

std::optional<Extent> PageIndex::find(Vaddr vaddr) const {
  vaddr = page_down(vaddr);
  const auto here = overlapping_in(extents_, vaddr, vaddr + kPageSize);
  if (here.empty()) return std::nullopt;
  const uint64_t skip = vaddr - here[0].vaddr;
  return Extent{.vaddr = vaddr, .pages = here[0].pages - skip / kPageSize, .offset = here[0].offset + skip, .file = here[0].file};
}

std::span<const Extent> PageIndex::overlapping(Vaddr start, Vaddr end) const { return overlapping_in(extents_, start, end); }

}  // namespace faultline::lazy
