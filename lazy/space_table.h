#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "lazy/pages_file.h"
#include "lazy/space.h"

namespace faultline::lazy {

// A range that was registered in a restored process, and where its pages are described.
struct Area {
  Vaddr start;       // bytes, page aligned
  uint64_t length;
  uint32_t index;    // number in Memory::indexes
  uint64_t origin;   // the address of `start` in that index: for private memory the same, for shared memory the offset in the object
};

// All address spaces of one pager, in an arena that its guard and its successors share.
// Safe from any thread; a Space that was given out stays valid as long as the table, and may be reused after it was closed.
class SpaceTable {
 public:
  static constexpr uint32_t kMaxSpaces = 8192;

  // `memory` must outlive the table and be complete: the page bits of its shared objects are made here.
  static Result<std::unique_ptr<SpaceTable>> create(const Memory& memory);

  // Takes the descriptor over. Errors: EINVAL for areas that overlap, ENOMEM, ENOSPC if there are too many address spaces.
  Result<Space*> add(pid_t pid, UniqueFd uffd, std::span<const Area> areas);
  // The address space of a forked child, from its parent's as it is now; the parent's lock is held exclusively.
  // Errors as above; the descriptor then stays the caller's. Does nothing for a descriptor that is known.
  Result<Space*> add_child(Space& parent, int uffd);
  // Takes over what a dead predecessor left: makes fresh locks, applies the messages it had read, wakes all who wait.
  Result<void> take_over();

  // Those that are open, and a number that changes with the set.
  std::vector<Space*> spaces() const;
  uint64_t version() const { return version_.load(std::memory_order_acquire); }
  Arena& arena() { return arena_; }
  // Gives up descriptor, layout and page bits; the space's lock is held exclusively.
  void close(Space& space);

 private:
  SpaceTable(const Memory& memory, Arena arena) : memory_(memory), arena_(std::move(arena)) {}
  SpaceState* state(uint32_t slot) const { return arena_.at<SpaceState>(states_) + slot; }
  Result<uint32_t> free_slot() const;
  Space* open_slot(uint32_t slot, int uffd);

  const Memory& memory_;
  Arena arena_;
  Arena::Offset states_ = 0;
  std::vector<Arena::Offset> shared_bitmaps_;  // by number of the index; 0 for private ones
  mutable std::mutex mutex_;                   // guards the slots' status and spaces_
  std::vector<std::unique_ptr<Space>> spaces_;  // by slot
  uint32_t used_ = 0;                           // slots from here on were never used in this process
  std::atomic<uint64_t> version_ = 1;
};

}  // namespace faultline::lazy
