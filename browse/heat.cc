#include "browse/heat.h"

#include <algorithm>

#include "core/image/working_set.h"

namespace faultline::browse {

namespace {

using Area = AddressSpace::Area;
using Band = Heat::Band;

// Where the stored pages of one process are, counted in the order of their addresses.
class Positions {
 public:
  explicit Positions(std::span<const image::Extent> extents) : extents_(extents) {
    before_.reserve(extents.size() + 1);
    uint64_t pages = 0;
    for (const image::Extent& extent : extents) before_.push_back(pages), pages += extent.pages;
    before_.push_back(pages);
  }

  uint64_t pages() const { return before_.back(); }
  // How many stored pages have lower addresses.
  uint64_t below(Vaddr at) const {
    const size_t i = index_of(at);
    if (i == extents_.size()) return pages();
    return before_[i] + (at > extents_[i].vaddr ? (at - extents_[i].vaddr) / kPageSize : 0);
  }
  bool stored(Vaddr at) const {
    const size_t i = index_of(at);
    return i < extents_.size() && extents_[i].vaddr <= at;
  }

 private:
  // The first extent that ends behind `at`.
  size_t index_of(Vaddr at) const {
    return static_cast<size_t>(std::ranges::partition_point(extents_, [&](const image::Extent& e) { return e.end() <= at; }) - extents_.begin());
  }

  std::span<const image::Extent> extents_;
  std::vector<uint64_t> before_;
};

// One band per area; where there are too many, small ones go together with their neighbours.
std::vector<Band> bands_of(std::span<const Area> areas, const Positions& positions) {
  const uint64_t least = areas.size() > kMostBands ? positions.pages() / (kMostBands / 2) + 1 : 0;
  std::vector<Band> bands;
  for (const Area& area : areas) {
    const uint64_t first = positions.below(area.vma->start), end = positions.below(area.vma->end);
    if (first == end) continue;
    if (!bands.empty() && bands.back().pages + (end - first) < least) {
      Band& last = bands.back();
      last.end = area.vma->end, last.pages = end - last.first, ++last.areas;
    } else {
      bands.push_back({.start = area.vma->start, .end = area.vma->end, .name = area.path, .first = first, .pages = end - first});
    }
  }
  return bands;
}

void take_touches(Heat& heat, const std::vector<Vaddr>& order, const Positions& positions) {
  for (size_t rank = 0; rank < order.size(); ++rank) {
    if (!positions.stored(order[rank])) {
      ++heat.elsewhere;
      continue;
    }
    const uint64_t at = positions.below(order[rank]);
    heat.touches.push_back({.position = at, .address = order[rank], .rank = rank});
    const auto band = std::ranges::partition_point(heat.bands, [&](const Band& b) { return b.first + b.pages <= at; });
    if (band == heat.bands.end() || band->first > at) continue;
    ++band->touched;
    band->rank = std::min(band->rank, rank);
  }
}

}  // namespace

std::vector<uint32_t> recorded_processes(const Snapshot& snapshot) {
  std::vector<uint32_t> pids;
  for (const Snapshot::Process& process : snapshot.processes())
    if (snapshot.images().file(image::working_set_name(process.pid))) pids.push_back(process.pid);
  return pids;
}

Result<Heat> heat_of(Snapshot& snapshot, uint32_t pid) {
  Heat heat = {.pid = pid};
  const std::string file = image::working_set_name(pid);
  if (!snapshot.images().file(file))
    return error(ENOENT, "{}: nothing is recorded for process {}; a restore with --lazy-pages records which pages are touched first", snapshot.name(), pid);
  const auto order = TRY(image::read_working_set(TRY(snapshot.images().with(file))->fd(), file));
  if (auto core = snapshot.core(pid); core && (*core)->tc) heat.comm = (*core)->tc->comm;
  const auto memory = TRY(snapshot.memory(pid));
  const auto pages = TRY(snapshot.images().memory(fmt::format("pagemap-{}.img", pid)));
  const Positions positions(pages->index().extents());
  heat.pages = positions.pages();
  heat.bands = bands_of(memory->areas(), positions);
  take_touches(heat, order, positions);
  return heat;
}

}  // namespace faultline::browse
