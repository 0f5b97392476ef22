#include "lazy/space_table.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

namespace faultline::lazy {

namespace {

void set_bits(Bitmap& bitmap, uint64_t first, uint64_t count) {
  for (uint64_t bit = first; bit < first + count;) {
    const uint64_t n = std::min(64 - bit % 64, first + count - bit);
    const uint64_t mask = (n == 64 ? ~uint64_t{0} : (uint64_t{1} << n) - 1) << bit % 64;
    auto& word = bitmap.words()[bit / 64];
    word.store(word.load(std::memory_order_relaxed) | mask, std::memory_order_relaxed);
    bit += n;
  }
}

// Marks missing what `index` has in [start, end), at bits from `bit` on.
void mark_missing(Bitmap& bitmap, uint64_t bit, const PageIndex& index, Vaddr start, Vaddr end) {
  for (const Extent& e : index.overlapping(start, end)) {
    const Vaddr from = std::max(start, e.vaddr);
    set_bits(bitmap, bit + (from - start) / kPageSize, (std::min(end, e.end()) - from) / kPageSize);
  }
}

// The bits of the whole object.
uint64_t object_pages(const PageIndex& index) {
  const auto all = index.overlapping(0, UINT64_MAX);
  return all.empty() ? 0 : all.back().end() / kPageSize;
}

}  // namespace

Result<std::unique_ptr<SpaceTable>> SpaceTable::create(const Memory& memory) {
  uint64_t bits = 0;
  for (const Memory::Index& index : memory.indexes) bits += index.shared ? object_pages(index.pages) : index.pages.pages();
  // Address space only: room for the bits of many children, and for their layouts.
  const size_t size = (size_t{4} << 30) + 64 * (bits / 8);
  std::unique_ptr<SpaceTable> table(new SpaceTable(memory, TRY(Arena::create(size))));
  table->states_ = TRY(table->arena_.allocate(sizeof(SpaceState) * kMaxSpaces));
  table->spaces_.resize(kMaxSpaces);
  for (const Memory::Index& index : memory.indexes) {
    Arena::Offset block = 0;
    if (index.shared) {
      const uint64_t pages = object_pages(index.pages);
      block = TRY(table->arena_.allocate(Bitmap::size_for(pages)));
      Bitmap& bitmap = *table->arena_.at<Bitmap>(block);
      bitmap.bits = pages;
      mark_missing(bitmap, 0, index.pages, 0, pages * kPageSize);
    }
    table->shared_bitmaps_.push_back(block);
  }
  return table;
}

Result<uint32_t> SpaceTable::free_slot() const {
  for (uint32_t slot = 0; slot < kMaxSpaces; ++slot)
    if (slot >= used_ || state(slot)->status == SpaceState::kFree) return slot;
  return error(ENOSPC, "the pager serves {} address spaces already, which is its limit", kMaxSpaces);
}

Space* SpaceTable::open_slot(uint32_t slot, int uffd) {
  used_ = std::max(used_, slot + 1);
  if (!spaces_[slot]) spaces_[slot] = std::make_unique<Space>(arena_, state(slot));
  state(slot)->uffd = uffd;
  state(slot)->serial.fetch_add(1);
  state(slot)->status = SpaceState::kLive;
  version_.fetch_add(1, std::memory_order_release);
  return spaces_[slot].get();
}

Result<Space*> SpaceTable::add(pid_t pid, UniqueFd uffd, std::span<const Area> areas) {
  std::vector<Area> sorted(areas.begin(), areas.end());
  std::sort(sorted.begin(), sorted.end(), [](const Area& a, const Area& b) { return a.start < b.start; });
  uint64_t private_pages = 0;
  for (size_t i = 0; i < sorted.size(); ++i) {
    const Area& a = sorted[i];
    if (a.index >= memory_.indexes.size() || a.length == 0 || (a.start | a.length | a.origin) % kPageSize != 0)
      return error(EINVAL, "pager: process {}: the area {:#x}-{:#x} is not described properly", pid, a.start, a.start + a.length);
    if (i > 0 && sorted[i - 1].start + sorted[i - 1].length > a.start)
      return error(EINVAL, "pager: process {}: the areas at {:#x} and {:#x} overlap", pid, sorted[i - 1].start, a.start);
    if (!memory_.indexes[a.index].shared) private_pages += a.length / kPageSize;
  }
  std::lock_guard lock(mutex_);
  const uint32_t slot = TRY(free_slot());
  const size_t bitmap_size = Bitmap::size_for(private_pages);
  const Arena::Offset block = TRY(arena_.allocate(bitmap_size));
  arena_.at<Bitmap>(block)->bits = private_pages;
  std::vector<Segment> segments;
  uint64_t bit = 0;
  for (const Area& a : sorted) {
    const Memory::Index& index = memory_.indexes[a.index];
    Segment s = {.at = a.start, .pages = a.length / kPageSize, .origin = a.origin, .index = a.index, .shared = index.shared,
                 .bitmap = block, .bit = bit};
    if (index.shared) {
      s.bitmap = shared_bitmaps_[a.index];
      s.bit = a.origin / kPageSize;
    } else {
      mark_missing(*arena_.at<Bitmap>(block), bit, index.pages, a.origin, a.origin + a.length);
      bit += s.pages;
    }
    segments.push_back(s);
  }
  SpaceState* const s = state(slot);
  std::memset(s->journal, 0, sizeof s->journal);
  s->pid = pid;
  s->pidfd = pid > 0 ? static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)) : -1;
  if (pid > 0 && s->pidfd < 0) return sys_error("pager: cannot take hold of process {}", pid);
  s->bitmap = block;
  s->bitmap_size = bitmap_size;
  s->commit = 0;
  Space fresh(arena_, s);
  TRY(fresh.set_layout(arena_, std::move(segments)));
  return open_slot(slot, uffd.release());
}

Result<Space*> SpaceTable::add_child(Space& parent, int uffd) {
  std::lock_guard lock(mutex_);
  for (uint32_t slot = 0; slot < used_; ++slot)
    if (state(slot)->status == SpaceState::kLive && state(slot)->uffd == uffd) return spaces_[slot].get();
  const uint32_t slot = TRY(free_slot());
  SpaceState* const s = state(slot);
  const SpaceState& from = parent.state();
  const Arena::Offset block = TRY(arena_.allocate(from.bitmap_size));
  Bitmap& bits = *arena_.at<Bitmap>(block);
  Bitmap& parent_bits = *arena_.at<Bitmap>(from.bitmap);
  bits.bits = parent_bits.bits;
  for (uint64_t i = 0; i < (bits.bits + 63) / 64; ++i)
    bits.words()[i].store(parent_bits.words()[i].load(std::memory_order_relaxed), std::memory_order_relaxed);
  std::vector<Segment> segments(parent.segments().begin(), parent.segments().end());
  for (Segment& segment : segments)
    if (!segment.shared) segment.bitmap = block;
  std::memset(s->journal, 0, sizeof s->journal);
  s->pid = 0;
  s->pidfd = -1;
  s->bitmap = block;
  s->bitmap_size = from.bitmap_size;
  s->commit = 0;
  Space fresh(arena_, s);
  TRY(fresh.set_layout(arena_, std::move(segments)));
  return open_slot(slot, uffd);
}

Result<void> SpaceTable::take_over() {
  const auto on_fork = [this](Space& parent, int child) -> Result<void> {
    TRY(add_child(parent, child));
    return {};
  };
  used_ = 0;
  for (uint32_t slot = 0; slot < kMaxSpaces; ++slot) {
    spaces_[slot].reset();
    if (state(slot)->status != SpaceState::kLive) continue;
    spaces_[slot] = std::make_unique<Space>(arena_, state(slot));
    used_ = slot + 1;
  }
  for (Space* space : spaces()) TRY(space->replay(arena_, on_fork));
  for (Space* space : spaces()) space->fd().wake_all();
  version_.fetch_add(1);
  return {};
}

std::vector<Space*> SpaceTable::spaces() const {
  std::lock_guard lock(mutex_);
  std::vector<Space*> open;
  for (uint32_t slot = 0; slot < used_; ++slot)
    if (spaces_[slot] && spaces_[slot]->open()) open.push_back(spaces_[slot].get());
  return open;
}

void SpaceTable::close(Space& space) {
  std::lock_guard lock(mutex_);
  space.close(arena_);
  version_.fetch_add(1, std::memory_order_release);
}

}  // namespace faultline::lazy
