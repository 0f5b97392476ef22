#include "lazy/space.h"

#include <unistd.h>

#include <algorithm>
#include <bit>

#include "core/base/log.h"

namespace faultline::lazy {

namespace {

// The part of `segment` that lies in [start, end), which must overlap it.
Segment cut(const Segment& segment, Vaddr start, Vaddr end) {
  Segment part = segment;
  part.at = std::max(segment.at, start);
  part.pages = (std::min(segment.end(), end) - part.at) / kPageSize;
  part.origin = segment.origin_of(part.at);
  part.bit = segment.bit + (part.at - segment.at) / kPageSize;
  return part;
}

bool overlaps(const Segment& s, Vaddr start, Vaddr end) { return s.at < end && start < s.end(); }

// Splits `segments` into what lies outside [start, end) and what lies inside.
void divide(std::span<const Segment> segments, Vaddr start, Vaddr end, std::vector<Segment>& outside, std::vector<Segment>& inside) {
  for (const Segment& s : segments) {
    if (!overlaps(s, start, end)) {
      outside.push_back(s);
      continue;
    }
    if (s.at < start) outside.push_back(cut(s, s.at, start));
    inside.push_back(cut(s, start, end));
    if (end < s.end()) outside.push_back(cut(s, end, s.end()));
  }
}

void clear_bits(Bitmap& bitmap, uint64_t first, uint64_t count) {
  for (uint64_t bit = first; bit < first + count;) {
    const uint64_t in_word = bit % 64;
    const uint64_t n = std::min(64 - in_word, first + count - bit);
    const uint64_t mask = (n == 64 ? ~uint64_t{0} : (uint64_t{1} << n) - 1) << in_word;
    bitmap.words()[bit / 64].fetch_and(~mask, std::memory_order_relaxed);
    bit += n;
  }
}

// The end of a segment's bits: past the last stored page of a shared object there are none, and nothing is missing.
uint64_t last_bit(const Bitmap& bitmap, const Segment& segment) { return std::min(segment.bit + segment.pages, bitmap.bits); }

// The first bit in [from, end) that equals `value`, or `end`.
uint64_t find_bit(Bitmap& bitmap, uint64_t from, uint64_t end, bool value) {
  while (from < end) {
    uint64_t word = bitmap.words()[from / 64].load(std::memory_order_relaxed);
    if (!value) word = ~word;
    word >>= from % 64;
    if (word != 0) return std::min(end, from + static_cast<uint64_t>(std::countr_zero(word)));
    from = (from / 64 + 1) * 64;
  }
  return end;
}

}  // namespace

// Lies in the arena and never changes once it is in force.
struct Space::Layout {
  static constexpr size_t kExpected = 16;
  uint64_t count;
  uint64_t expected_count;
  uffd::Unmap expected[kExpected];  // see remap()
  Segment segments[];

  static size_t size_for(size_t count) { return sizeof(Layout) + count * sizeof(Segment); }
};

Space::Layout* Space::layout() const {
  const Arena::Offset offset = state_->commit.load(std::memory_order_relaxed) >> 8;
  return offset == 0 ? nullptr : arena_->at<Layout>(offset);
}

std::span<const Segment> Space::segments() const {
  const Layout* const l = layout();
  return l == nullptr ? std::span<const Segment>() : std::span<const Segment>(l->segments, l->count);
}

const Segment* Space::find(Vaddr address) const {
  const auto all = segments();
  const auto it = std::partition_point(all.begin(), all.end(), [&](const Segment& s) { return s.end() <= address; });
  return it != all.end() && it->at <= address ? &*it : nullptr;
}

bool Space::missing(const Segment& segment, Vaddr address) const { return missing_run(segment, address, 1) == 1; }

uint64_t Space::missing_run(const Segment& segment, Vaddr address, uint64_t limit) const {
  Bitmap& bitmap = *arena_->at<Bitmap>(segment.bitmap);
  const uint64_t first = segment.bit + (address - segment.at) / kPageSize, last = last_bit(bitmap, segment);
  if (first >= last) return 0;
  const uint64_t end = first + std::min(limit, last - first);
  return find_bit(bitmap, first, end, false) - first;
}

uint64_t Space::missing_pages() const {
  uint64_t missing = 0;
  for (const Segment& s : segments()) {
    Bitmap& bitmap = *arena_->at<Bitmap>(s.bitmap);
    const uint64_t end = last_bit(bitmap, s);
    for (uint64_t bit = s.bit; bit < end;) {
      const uint64_t count = std::min(64 - bit % 64, end - bit);
      const uint64_t mask = (count == 64 ? ~uint64_t{0} : (uint64_t{1} << count) - 1) << bit % 64;
      missing += static_cast<uint64_t>(std::popcount(bitmap.words()[bit / 64].load(std::memory_order_relaxed) & mask));
      bit += count;
    }
  }
  return missing;
}

void Space::mark_present(const Segment& segment, Vaddr address, uint64_t pages) {
  clear_bits(*arena_->at<Bitmap>(segment.bitmap), segment.bit + (address - segment.at) / kPageSize, pages);
}

std::optional<Gap> Space::next_gap(Vaddr from, uint64_t limit) const {
  const auto all = segments();
  auto it = std::partition_point(all.begin(), all.end(), [&](const Segment& s) { return s.end() <= from; });
  for (; it != all.end(); ++it) {
    const Vaddr start = std::max(from, it->at);
    Bitmap& bitmap = *arena_->at<Bitmap>(it->bitmap);
    const uint64_t end = last_bit(bitmap, *it);
    for (uint64_t bit = it->bit + (start - it->at) / kPageSize; bit < end && (bit = find_bit(bitmap, bit, end, true)) != end;) {
      const Vaddr at = it->at + (bit - it->bit) * kPageSize;
      // None, if another thread has just put the page in.
      if (const uint64_t pages = missing_run(*it, at, limit)) return Gap{*it, at, pages};
    }
  }
  return std::nullopt;
}

std::optional<Vaddr> Space::current_address(uint32_t index, Vaddr origin, Vaddr from) const {
  for (const Segment& s : segments())
    if (s.index == index && s.origin <= origin && origin < s.origin_of(s.end()) && s.at + (origin - s.origin) >= from) return s.at + (origin - s.origin);
  return std::nullopt;
}

Result<size_t> Space::drain(Arena& arena, const ForkHandler& on_fork, std::vector<Vaddr>& faults) {
  // The kernel writes the messages into the arena. A process is not killed between the moment the kernel takes an event from its
  // queue and the moment the message is copied out, so that after any death the journal has every event that was read:
  //  1. the kinds of the old messages are wiped: a replay now finds nothing
  //  2. the count of applied messages is set to 0
  //  3. read(): from here on a replay applies what came
  for (uffd_msg& message : state_->journal) message.event = 0;
  set_applied(0);
  const size_t count = TRY(fd().read(state_->journal));
  for (size_t i = 0; i < count; ++i) {
    const uffd_msg& message = state_->journal[i];
    if (message.event == UFFD_EVENT_PAGEFAULT)
      faults.push_back(std::get<uffd::Fault>(uffd::decode(message)).address);
    else
      TRY(apply(arena, message, i + 1, on_fork));
  }
  return count;
}

Result<void> Space::replay(Arena& arena, const ForkHandler& on_fork) {
  for (size_t i = state_->commit.load() & 0xff; i < SpaceState::kJournal; ++i) {
    const uffd_msg& message = state_->journal[i];
    if (message.event != 0 && message.event != UFFD_EVENT_PAGEFAULT) TRY(apply(arena, message, i + 1, on_fork));
  }
  return {};
}

Result<void> Space::apply(Arena& arena, const uffd_msg& message, size_t number, const ForkHandler& on_fork) {
  const uffd::Event event = uffd::decode(message);
  if (const auto* fork = std::get_if<uffd::Fork>(&event)) {
    TRY(on_fork(*this, fork->child));
  } else if (const auto* remap_event = std::get_if<uffd::Remap>(&event)) {
    return remap(arena, *remap_event, number);
  } else if (const auto* removed = std::get_if<uffd::Remove>(&event)) {
    remove(removed->start, removed->end);
  } else if (const auto* unmapped = std::get_if<uffd::Unmap>(&event)) {
    return unmap(arena, unmapped->start, unmapped->end, number);
  } else if (const auto* unknown = std::get_if<uffd::Unknown>(&event)) {
    LOG_WARNING("pager: process {}: userfaultfd sent a message of kind {:#x}, which means nothing to us", pid(), unknown->kind);
  }
  set_applied(number);
  return {};
}

void Space::remove(Vaddr start, Vaddr end) {
  // For shared memory the event does not tell MADV_DONTNEED, which keeps the contents, from MADV_REMOVE, which drops them.
  // Zeros in place of data would be worse than data in place of zeros, so that the pages stay missing.
  for (const Segment& s : segments()) {
    if (!overlaps(s, start, end)) continue;
    const Segment part = cut(s, start, end);
    if (!s.shared) {
      mark_present(part, part.at, part.pages);
    } else if (missing_run(part, part.at, 1) == 1) {
      LOG_INFO("pager: process {}: shared memory {:#x}-{:#x} was given up before it had arrived; its old contents remain", pid(), start, end);
    }
  }
}

Result<void> Space::unmap(Arena& arena, Vaddr start, Vaddr end, size_t number) {
  std::vector<Segment> outside, inside;
  divide(segments(), start, end, outside, inside);
  const Layout* const now = layout();
  std::vector<uffd::Unmap> expected(now->expected, now->expected + now->expected_count);
  const auto known = std::find_if(expected.begin(), expected.end(), [&](const uffd::Unmap& u) { return u.start == start && u.end == end; });
  if (known != expected.end()) {
    expected.erase(known);
    return publish(arena, segments(), expected, number);
  }
  if (inside.empty()) {
    set_applied(number);
    return {};
  }
  for (const Segment& s : inside)
    if (!s.shared) mark_present(s, s.at, s.pages);
  return publish(arena, outside, expected, number);
}

// mremap() causes two events: REMAP, and after it has been read UNMAP of the place that was left. In between, another thread may have
// moved something else to that place, which the UNMAP does not mean. So each move remembers the UNMAP that is its own.
// (MREMAP_DONTUNMAP causes no UNMAP; the memory of it is dropped when newer moves push it out.)
Result<void> Space::remap(Arena& arena, const uffd::Remap& event, size_t number) {
  std::vector<Segment> outside, moved;
  if (event.length == 0) {
    // A shared mapping was duplicated; how long the copy is, is not said: we know of no place behind the end of the
    // original. If it is shorter, what is taken for its rest does not exist.
    outside.assign(segments().begin(), segments().end());
    if (const Segment* s = find(event.from)) moved.push_back(cut(*s, event.from, s->end()));
  } else {
    divide(segments(), event.from, event.from + event.length, outside, moved);
  }
  const Layout* const now = layout();
  std::vector<uffd::Unmap> expected(now->expected, now->expected + now->expected_count);
  if (event.length != 0) {
    if (expected.size() == Layout::kExpected) expected.erase(expected.begin());
    expected.push_back({event.from, event.from + event.length});
  }
  // Before Linux 6.17 a move that also shrinks reports the old length: what stands behind the new end belongs to others and stays.
  const std::vector<Segment> standing = outside;
  for (Segment s : moved) {
    s.at += event.to - event.from;
    std::vector<Segment> free_parts = {s};
    for (const Segment& other : standing) {
      std::vector<Segment> next, covered;
      divide(free_parts, other.at, other.end(), next, covered);
      free_parts = std::move(next);
    }
    outside.insert(outside.end(), free_parts.begin(), free_parts.end());
  }
  return publish(arena, outside, expected, number);
}

Result<void> Space::set_layout(Arena& arena, std::vector<Segment> segments) { return publish(arena, segments, {}, 0); }

Result<void> Space::publish(Arena& arena, std::span<const Segment> segments, std::span<const uffd::Unmap> expected, size_t number) {
  const Arena::Offset block = TRY(arena.allocate(Layout::size_for(segments.size())));
  Layout* const next = arena.at<Layout>(block);
  next->count = segments.size();
  next->expected_count = expected.size();
  std::copy(expected.begin(), expected.end(), next->expected);
  std::copy(segments.begin(), segments.end(), next->segments);
  std::sort(next->segments, next->segments + next->count, [](const Segment& a, const Segment& b) { return a.at < b.at; });
  const Arena::Offset old = state_->commit.load() >> 8;
  const size_t old_size = old == 0 ? 0 : Layout::size_for(arena.at<Layout>(old)->count);
  state_->commit.store(block << 8 | number);
  arena.release(old, old_size);
  return {};
}

void Space::set_applied(size_t number) { state_->commit.store((state_->commit.load() & ~uint64_t{0xff}) | number); }

void Space::close(Arena& arena) {
  // While a userfaultfd is being released, faults on what is still registered with it are tried again and again inside the kernel, without
  // letting anybody else run on that CPU: not the thread either that releases it, if it has to wait for the address space there
  // (handle_userfault in fs/userfaultfd.c; a soft lockup on kernels without preemption). So nothing is registered any more by then.
  for (const Segment& s : segments()) (void)fd().unregister_range(s.at, s.pages * kPageSize);
  // Free first: a pager that dies in here leaves blocks behind, not a space without memory.
  state_->status.store(SpaceState::kFree);
  ::close(state_->uffd.exchange(-1));
  if (const int pidfd = std::exchange(state_->pidfd, -1); pidfd >= 0) ::close(pidfd);
  const Arena::Offset old = state_->commit.exchange(0) >> 8;
  if (old != 0) arena.release(old, Layout::size_for(arena.at<Layout>(old)->count));
  arena.release(std::exchange(state_->bitmap, 0), state_->bitmap_size);
}

}  // namespace faultline::lazy
