#include "browse/address_space.h"

#include <algorithm>
#include <cstring>

namespace faultline::browse {

namespace {

constexpr uint32_t kOfObject = image::kVmaAnonShared | image::kVmaMemfd;
constexpr uint32_t kOfFile = image::kVmaFilePrivate | image::kVmaFileShared;
// What the kernel makes, or images keep elsewhere: contents that are not stored are not zeros.
constexpr uint32_t kOfOthers = image::kVmaVvar | image::kVmaVsyscall | image::kVmaSysvIpc | image::kVmaSocket | image::kVmaAioRing;
constexpr uint32_t kMapShared = 1;  // MAP_SHARED and MAP_SHARED_VALIDATE

image::Extent part(const image::Extent& extent, Vaddr start, Vaddr end) {
  const uint64_t skip = start - extent.vaddr;
  return {.vaddr = start, .pages = (end - start + kPageSize - 1) / kPageSize, .offset = extent.offset + skip, .file = extent.file, .late = extent.late};
}

// The run of one object that begins at `at` (an address or an offset), up to `limit`. `otherwise`: what pages are that are not stored.
AddressSpace::Run stored_run(const StoredPages& pages, Vaddr at, Vaddr limit, AddressSpace::Kind stored, AddressSpace::Kind otherwise) {
  const auto here = pages.index().overlapping(at, limit);
  if (here.empty()) return {.start = at, .end = limit, .kind = otherwise};
  const image::Extent& extent = here[0];
  if (extent.vaddr > at) return {.start = at, .end = extent.vaddr, .kind = otherwise};
  const Vaddr end = std::min(limit, extent.end());
  return {.start = at, .end = end, .kind = extent.lost() ? AddressSpace::Kind::kLost : stored, .pages = &pages, .extent = part(extent, at, end)};
}

}  // namespace

AddressSpace::AddressSpace(std::shared_ptr<const image::MmEntry> mm, std::vector<Area> areas, std::shared_ptr<const StoredPages> pages)
    : mm_(std::move(mm)), areas_(std::move(areas)), pages_(std::move(pages)) {}

const AddressSpace::Area* AddressSpace::area_at(Vaddr at) const {
  const auto next = std::partition_point(areas_.begin(), areas_.end(), [&](const Area& a) { return a.vma->end <= at; });
  return next != areas_.end() && next->vma->start <= at ? &*next : nullptr;
}

std::string AddressSpace::damage() const { return pages_ ? pages_->damage() : "its pagemap cannot be read"; }

AddressSpace::Run AddressSpace::run_at(Vaddr at, Vaddr limit) const {
  const auto next = std::partition_point(areas_.begin(), areas_.end(), [&](const Area& a) { return a.vma->end <= at; });
  if (next == areas_.end() || next->vma->start >= limit) return {.start = at, .end = limit, .kind = Kind::kHole};
  if (next->vma->start > at) return {.start = at, .end = next->vma->start, .kind = Kind::kHole};
  return in_area(*next, at, std::min<Vaddr>(limit, next->vma->end));
}

AddressSpace::Run AddressSpace::in_area(const Area& area, Vaddr at, Vaddr limit) const {
  const image::VmaEntry& vma = *area.vma;
  // Pages that the process has of its own come first, whatever is below them; in a shared area it has none.
  const bool shared = (vma.flags & kMapShared) && (vma.status & (kOfObject | kOfFile));
  Run run = {.start = at, .end = limit, .kind = shared ? Kind::kZero : Kind::kLost};
  if (pages_ && !shared) run = stored_run(*pages_, at, limit, Kind::kStored, Kind::kZero);
  if (run.kind != Kind::kZero) return run;
  const uint64_t offset = vma.pgoff + (at - vma.start);
  if (area.shared) {
    Run below = stored_run(*area.shared, offset, offset + (run.end - at), Kind::kShared, Kind::kZero);
    below.end = at + (below.end - below.start), below.start = at;
    return below;
  }
  if (area.file) {
    // Behind the end of the file there is nothing: the process would get SIGBUS.
    const uint64_t there = page_up(area.file->size());
    if (offset >= there) run.kind = Kind::kLost;
    else run.kind = Kind::kFile, run.end = std::min<Vaddr>(run.end, at + (there - offset)), run.file = area.file.get(), run.offset = offset;
    return run;
  }
  if (vma.status & (kOfObject | kOfFile | kOfOthers)) run.kind = Kind::kLost;
  return run;
}

Vaddr AddressSpace::next(bool data, Vaddr at, Vaddr limit) const {
  while (at < limit) {
    const Run run = run_at(at, limit);
    if (run.has_data() == data) return at;
    at = run.end;
  }
  return limit;
}

Result<size_t> AddressSpace::read(Vaddr at, std::span<std::byte> to) const {
  size_t done = 0;
  while (done < to.size()) {
    const Run run = run_at(at + done, at + to.size());
    const auto here = to.subspan(done, run.end - run.start);
    Result<void> outcome;
    switch (run.kind) {
      case Kind::kHole: outcome = error(EIO, "no memory is mapped at {:#x}", run.start); break;
      case Kind::kZero: std::ranges::fill(here, std::byte{0}); break;
      case Kind::kStored:
      case Kind::kShared: outcome = run.pages->read(run.extent, run.extent.vaddr, here); break;
      case Kind::kFile: outcome = run.file->read(run.offset, here); break;
      case Kind::kLost: outcome = error(EIO, "the memory at {:#x} is neither in the images nor in a file on this machine{}{}", run.start, damage().empty() ? "" : ": ", damage());
    }
    if (!outcome && done == 0) return Failure(outcome.error());
    if (!outcome) break;
    done += here.size();
  }
  return done;
}

}  // namespace faultline::browse
