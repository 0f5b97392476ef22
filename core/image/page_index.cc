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

void append_lost(std::vector<Extent>& to, Vaddr start, Vaddr end) {
  if (start < end) append(to, {.vaddr = start, .pages = (end - start) / kPageSize, .offset = start, .file = kLostFile});
}

// Takes the pages of [start, end) from `parent` over, which must have all of them.
Result<void> inherit(std::vector<Extent>& to, std::span<const Extent> parent, Vaddr start, Vaddr end, const std::string& name, Missing missing) {
  Vaddr at = start;
  for (const Extent& e : overlapping_in(parent, start, end)) {
    if (e.vaddr > at) {
      if (missing == Missing::kRefuse) break;
      append_lost(to, at, e.vaddr);
      at = e.vaddr;
    }
    const Vaddr stop = std::min(end, e.end());
    append(to, {.vaddr = at, .pages = (stop - at) / kPageSize, .offset = e.offset + (at - e.vaddr), .file = e.file, .late = e.late});
    at = stop;
  }
  if (at < end && missing == Missing::kRefuse)
    return error(EBADMSG, "{}: the page at {:#x} should be in a parent checkpoint, which does not have it", name, at);
  append_lost(to, at, end);
  return {};
}

Result<std::vector<Extent>> resolve(const PagemapLayer& layer, std::span<const Extent> parent, Missing missing) {
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
      const uint64_t there = std::min(pages, (layer.file_size - std::min(layer.file_size, offset)) / kPageSize);
      if (there < pages && missing == Missing::kRefuse)
        return error(EBADMSG, "{}: the run of {} pages at {:#x} reaches past the end of its pages file", layer.name, pages, entry.vaddr);
      if (there > 0) append(extents, {.vaddr = entry.vaddr, .pages = there, .offset = offset, .file = layer.file, .late = late});
      append_lost(extents, entry.vaddr + there * kPageSize, previous_end);
      offset += pages * kPageSize;
    } else if (flags & kPageParent) {
      TRY(inherit(extents, parent, entry.vaddr, previous_end, layer.name, missing));
    } else if (flags & kPageLazy) {
      append(extents, {.vaddr = entry.vaddr, .pages = pages, .offset = entry.vaddr, .file = kRemoteFile, .late = true});
    }
  }
  append_lost(extents, layer.known_until, kUserSpaceEnd);
  return extents;
}

}  // namespace

Result<PageIndex> PageIndex::build(std::span<const PagemapLayer> newest_first, Missing missing) {
  std::vector<Extent> extents;
  for (size_t i = newest_first.size(); i-- > 0;) extents = TRY(resolve(newest_first[i], extents, missing));
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
  Vaddr known_until = kUserSpaceEnd;
  std::unique_ptr<ImageDir> parent;
};

constexpr size_t kMaxParents = 1024;  // a chain that is longer is a circle

// Takes the pages file of a pagemap over, if anything is stored in one.
Result<void> take_pages(const ImageDir& dir, Link& link, const TakePagesFile& take) {
  if (std::ranges::none_of(link.map.entries, [](const PagemapEntry& e) { return *e.flags & kPagePresent; })) return {};
  const std::string pages = fmt::format("pages-{}.img", link.map.pages_id);
  UniqueFd fd = TRY(dir.open_file(pages, O_RDONLY | O_NONBLOCK));  // not to wait, should it be a FIFO
  struct stat st;
  if (::fstat(fd.get(), &st) != 0) return sys_error("{}/{}: cannot find the size", dir.name(), pages);
  if (!S_ISREG(st.st_mode)) return error(EBADMSG, "{}/{}: not a regular file", dir.name(), pages);
  link.file = TRY(take(std::move(fd), dir.name() + "/" + pages));
  link.size = static_cast<uint64_t>(st.st_size);
  return {};
}

Result<Link> load_link(const ImageDir& dir, const std::string& file, const TakePagesFile& take) {
  Link link = {.map = TRY(load_pagemap(dir, file, false)), .name = dir.name() + "/" + file};
  TRY(take_pages(dir, link, take));
  return link;
}

// nullopt if there is none.
Result<std::optional<ImageDir>> open_parent(const ImageDir& dir) {
  auto parent = dir.open_parent();
  if (parent) return std::optional<ImageDir>(std::move(*parent));
  if (parent.error().code == ENOENT) return std::optional<ImageDir>();
  return Failure(parent.error());
}

// The pagemaps `file` of `dir` and its parents, the newest first. `load` gives one of them, `parent_of` the next directory.
template <typename Load, typename ParentOf>
Result<std::vector<Link>> load_chain(const ImageDir& dir, const std::string& file, const Load& load, const ParentOf& parent_of) {
  std::vector<Link> chain;
  const ImageDir* at = &dir;
  while (at->exists(file)) {
    if (chain.size() == kMaxParents) return error(ELOOP, "{}: more than {} parent checkpoints", dir.name(), kMaxParents);
    Link link = TRY(load(*at));
    if (auto parent = TRY(parent_of(*at))) link.parent = std::make_unique<ImageDir>(std::move(*parent));
    chain.push_back(std::move(link));
    if (!chain.back().parent) break;
    at = chain.back().parent.get();
  }
  if (chain.empty()) return error(ENOENT, "{}/{}: this image is missing", dir.name(), file);
  return chain;
}

std::vector<PagemapLayer> layers_of(const std::vector<Link>& chain) {
  std::vector<PagemapLayer> layers;
  for (const Link& link : chain) layers.push_back({&link.map, link.file, link.size, link.name, link.known_until});
  return layers;
}

}  // namespace

Result<PageIndex> load_page_index(const ImageDir& dir, const std::string& file, const TakePagesFile& take) {
  const auto chain = TRY(load_chain(dir, file, [&](const ImageDir& at) { return load_link(at, file, take); }, open_parent));
  return PageIndex::build(layers_of(chain));
}

Result<DamagedPageIndex> load_damaged_page_index(const ImageDir& dir, const std::string& file, const TakePagesFile& take) {
  DamagedPageIndex result;
  const auto damaged = [&](const Error& e) {
    if (result.damage.empty()) result.damage = e.what;
  };
  const auto load = [&](const ImageDir& at) -> Result<Link> {
    PagemapPart part = read_pagemap(at, file, false);
    Link link = {.map = std::move(part.map), .name = at.name() + "/" + file};
    if (auto taken = take_pages(at, link, take); !taken) damaged(taken.error());
    if (part.damage) {
      damaged(*part.damage);
      link.known_until = link.map.entries.empty() ? 0 : link.map.entries.back().vaddr + *link.map.entries.back().nr_pages * kPageSize;
    }
    return link;
  };
  const auto parent_of = [&](const ImageDir& at) -> Result<std::optional<ImageDir>> {
    auto parent = open_parent(at);
    if (parent) return parent;
    damaged(parent.error());
    return std::optional<ImageDir>();
  };
  const auto chain = TRY(load_chain(dir, file, load, parent_of));
  result.index = TRY(PageIndex::build(layers_of(chain), Missing::kMark));
  if (result.damage.empty() && std::ranges::any_of(result.index.extents(), &Extent::lost))
    result.damage = fmt::format("{}/{}: pages are missing that it says are stored", dir.name(), file);
  return result;
}

}  // namespace faultline::image
