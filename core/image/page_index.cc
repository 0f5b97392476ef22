#include "core/image/page_index.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <memory>

namespace faultline::image {

namespace {

// Appends, joining what is consecutive in memory and in the file.
void append(std::vector<Extent>& to, const Extent& e) {
  if (!to.empty()) {
    Extent& last = to.back();
    if (last.end() == e.vaddr && last.file == e.file && last.late == e.late && last.offset + last.pages * kPageSize == e.offset) {
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
    append(to, {.vaddr = at, .pages = (stop - at) / kPageSize, .offset = e.offset + (at - e.vaddr), .file = e.file, .late = e.late});
    at = stop;
  }
  if (at < end) return error(EBADMSG, "{}: the page at {:#x} should be in a parent checkpoint, which does not have it", name, at);
  return {};
}

Result<std::vector<Extent>> resolve(const PagemapLayer& layer, std::span<const Extent> parent) {
  std::vector<Extent> extents;
  Vaddr previous_end = 0;
  uint64_t offset = 0;
  for (const PagemapEntry& entry : layer.map->entries) {
    const uint64_t pages = entry.nr_pages.value_or(entry.compat_nr_pages);
    const uint32_t flags = entry.in_parent.value_or(false) ? kPageParent : entry.flags.value_or(kPagePresent);
    if (entry.vaddr % kPageSize != 0 || entry.vaddr < previous_end)
      return error(EBADMSG, "{}: the run of pages at {:#x} is out of order or overlaps the one before it", layer.name, entry.vaddr);
    if (pages > (UINT64_MAX - entry.vaddr) / kPageSize)
      return error(EBADMSG, "{}: the run of {} pages at {:#x} is longer than any address space", layer.name, pages, entry.vaddr);
    previous_end = entry.vaddr + pages * kPageSize;
    const bool late = flags & kPageLazy;
    if (flags & kPagePresent) {
      if (pages > (layer.file_size - offset) / kPageSize)
        return error(EBADMSG, "{}: the run of {} pages at {:#x} reaches past the end of its pages file", layer.name, pages, entry.vaddr);
      append(extents, {.vaddr = entry.vaddr, .pages = pages, .offset = offset, .file = layer.file, .late = late});
      offset += pages * kPageSize;
    } else if (flags & kPageParent) {
      TRY(inherit(extents, parent, entry.vaddr, previous_end, layer.name));
    } else if (flags & kPageLazy) {
      append(extents, {.vaddr = entry.vaddr, .pages = pages, .offset = entry.vaddr, .file = kRemoteFile, .late = true});
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
  return Extent{.vaddr = vaddr, .pages = here[0].pages - skip / kPageSize, .offset = here[0].offset + skip, .file = here[0].file, .late = here[0].late};
}

bool PageIndex::any_remote() const { return std::ranges::any_of(extents_, &Extent::remote); }

std::span<const Extent> PageIndex::overlapping(Vaddr start, Vaddr end) const { return overlapping_in(extents_, start, end); }

namespace {

// One directory of a chain of incremental dumps.
struct Link {
  Pagemap map;
  uint32_t file = 0;
  uint64_t size = 0;  // of its pages file, bytes
  std::string name;
  std::unique_ptr<ImageDir> parent;
};

constexpr size_t kMaxParents = 1024;  // a chain that is longer is a circle

Result<Link> load_link(const ImageDir& dir, const std::string& file, const TakePagesFile& take) {
  Link link = {.map = TRY(load_pagemap(dir, file, false)), .name = dir.name() + "/" + file};
  if (std::ranges::none_of(link.map.entries, [](const PagemapEntry& e) { return *e.flags & kPagePresent; })) return link;
  const std::string pages = fmt::format("pages-{}.img", link.map.pages_id);
  UniqueFd fd = TRY(dir.open_file(pages, O_RDONLY | O_NONBLOCK));  // not to wait, should it be a FIFO
  struct stat st;
  if (::fstat(fd.get(), &st) != 0) return sys_error("{}/{}: cannot find the size", dir.name(), pages);
  if (!S_ISREG(st.st_mode)) return error(EBADMSG, "{}/{}: not a regular file", dir.name(), pages);
  link.size = static_cast<uint64_t>(st.st_size);
  link.file = TRY(take(std::move(fd), dir.name() + "/" + pages));
  return link;
}

}  // namespace

Result<PageIndex> load_page_index(const ImageDir& dir, const std::string& file, const TakePagesFile& take) {
  std::vector<Link> chain;
  const ImageDir* at = &dir;
  while (at->exists(file)) {
    if (chain.size() == kMaxParents) return error(ELOOP, "{}: more than {} parent checkpoints", dir.name(), kMaxParents);
    Link link = TRY(load_link(*at, file, take));
    auto parent = at->open_parent();
    if (parent) link.parent = std::make_unique<ImageDir>(std::move(*parent));
    else if (parent.error().code != ENOENT) return Failure(parent.error());
    chain.push_back(std::move(link));
    if (!chain.back().parent) break;
    at = chain.back().parent.get();
  }
  if (chain.empty()) return error(ENOENT, "{}/{}: this image is missing", dir.name(), file);
  std::vector<PagemapLayer> layers;
  for (const Link& link : chain) layers.push_back({&link.map, link.file, link.size, link.name});
  return PageIndex::build(layers);
}

}  // namespace faultline::image
