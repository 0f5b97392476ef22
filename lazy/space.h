#pragma once

#include <linux/userfaultfd.h>
#include <sys/types.h>

#include <atomic>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "lazy/arena.h"
#include "lazy/space_lock.h"
#include "uffd/userfault.h"

namespace faultline::lazy {

// Which pages have not arrived yet: one bit each, 1 = missing (its contents are in the index and nowhere else).
// A page whose bit is 0 is in place, or reads as zero. Bits are set when the bitmap is made and only ever cleared.
struct Bitmap {
  uint64_t bits;
  std::atomic<uint64_t>* words() { return reinterpret_cast<std::atomic<uint64_t>*>(this + 1); }
  static size_t size_for(uint64_t bits) { return sizeof(Bitmap) + (bits + 63) / 64 * 8; }
};

// A range of a restored process that is registered, and what belongs there.
struct Segment {
  Vaddr at;             // where it is now
  uint64_t pages;
  Vaddr origin;         // the address (offset, if shared) of its first page in its index
  uint32_t index;       // number of the PageIndex
  bool shared;          // memory of an object that other processes may have mapped too
  Arena::Offset bitmap;
  uint64_t bit;         // of its first page

  Vaddr end() const { return at + pages * kPageSize; }
  Vaddr origin_of(Vaddr address) const { return origin + (address - at); }
};

// Consecutive missing pages of one segment.
struct Gap {
  Segment segment;
  Vaddr at;
  uint64_t pages;
};

// What a pager must know of one address space, in the arena, so that its successor can go on where it was killed.
struct SpaceState {
  static constexpr size_t kJournal = 32;
  enum Status : uint32_t { kFree, kLive };

  std::atomic<uint32_t> status;
  std::atomic<int32_t> uffd;
  int32_t pid;              // 0 for a child that the process forked itself: the kernel does not tell its pid
  int32_t pidfd;            // -1 if pid is 0
  std::atomic<uint64_t> serial;  // tells the address spaces that had this place one after the other apart
  Arena::Offset bitmap;     // of the private segments; freed with the space
  size_t bitmap_size;
  // The layout in force, and how many messages of the journal it contains: (offset of the Layout << 8) | messages.
  // One word, so that a change of the layout and its place in the journal are one store.
  std::atomic<uint64_t> commit;
  uffd_msg journal[kJournal];
};

// One address space: its layout, its page bits and its userfaultfd. The state is in the arena, this object is private to a pager.
//
// The rule of the lock. The kernel refuses copies (EAGAIN) from the moment an event happens until it has been *read*; after that, a copy
// that was looked up before would put old contents into a range that is gone. So look-up and copy are one hold of the lock (shared),
// reading messages and applying them to the layout another (exclusive).
class Space {
 public:
  // The address space described by `state`, new or left behind by a predecessor.
  Space(const Arena& arena, SpaceState* state) : arena_(&arena), state_(state) {}

  SpaceLock& lock() { return lock_; }
  SpaceState& state() { return *state_; }
  pid_t pid() const { return state_->pid; }
  // Closed once everything is in place, or the process is gone. Stable while the lock is held.
  bool open() const { return state_->status == SpaceState::kLive; }
  uffd::UserfaultRef fd() const { return uffd::UserfaultRef(state_->uffd); }

  // With the lock held in either way ---

  std::span<const Segment> segments() const;
  const Segment* find(Vaddr address) const;
  bool missing(const Segment& segment, Vaddr address) const;
  // How many pages from `address` on are missing, up to `limit` and the end of the segment. Only present pages give 0.
  uint64_t missing_run(const Segment& segment, Vaddr address, uint64_t limit) const;
  // All of them; shared ones once for each place.
  uint64_t missing_pages() const;
  void mark_present(const Segment& segment, Vaddr address, uint64_t pages);
  // The first gap at or after `from`, of at most `limit` pages; nullopt if nothing is missing there.
  std::optional<Gap> next_gap(Vaddr from, uint64_t limit) const;
  // Where the page of `index` that was at `origin` is now: the first place at or above `from`; nullopt if it is no longer mapped. Shared memory may
  // be in several places, and some of these may not exist (see remap()).
  std::optional<Vaddr> current_address(uint32_t index, Vaddr origin, Vaddr from = 0) const;

  // With the lock held exclusively ---

  // Makes the address space of a forked child, from this one as it is now. Called for each fork, also a second time for the same
  // descriptor if a pager died in between.
  using ForkHandler = std::function<Result<void>(Space& parent, int child_uffd)>;

  // Reads waiting messages, applies the events, and appends the addresses of the faults. Gives how many messages there were.
  Result<size_t> drain(Arena& arena, const ForkHandler& on_fork, std::vector<Vaddr>& faults);
  // Applies what a predecessor had read and not applied.
  Result<void> replay(Arena& arena, const ForkHandler& on_fork);

  // Puts a first layout in force. Segments may come in any order.
  Result<void> set_layout(Arena& arena, std::vector<Segment> segments);
  // Gives up descriptor, layout and page bits. Called by the table, which guards the slots.
  void close(Arena& arena);

 private:
  struct Layout;
  Layout* layout() const;
  Result<void> apply(Arena& arena, const uffd_msg& message, size_t number, const ForkHandler& on_fork);
  Result<void> unmap(Arena& arena, Vaddr start, Vaddr end, size_t number);
  Result<void> remap(Arena& arena, const uffd::Remap& event, size_t number);
  void remove(Vaddr start, Vaddr end);
  Result<void> publish(Arena& arena, std::span<const Segment> segments, std::span<const uffd::Unmap> expected, size_t number);
  void set_applied(size_t number);

  const Arena* arena_;
  SpaceState* state_;
  SpaceLock lock_;
};

}  // namespace faultline::lazy
