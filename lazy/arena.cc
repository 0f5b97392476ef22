#include "lazy/arena.h"

#include <sys/mman.h>

#include <bit>
#include <cstring>

namespace faultline::lazy {

namespace {

size_t class_of(size_t size) { return size <= 64 ? 0 : static_cast<size_t>(std::bit_width((size - 1) >> 6)); }

}  // namespace

Result<Arena> Arena::create(size_t size) {
  Arena arena;
  arena.memory_ =
      TRY(Mapping::map(size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0, "the pager's shared state"));
  arena.head()->next = (sizeof(Head) + 63) & ~size_t{63};
  return arena;
}

Result<Arena::Offset> Arena::allocate(size_t size) {
  const size_t c = class_of(size);
  if (c >= kClasses) return error(ENOMEM, "the pager's shared state: a block of {} bytes is too large", size);
  std::lock_guard lock(*mutex_);
  const Offset recycled = head()->free[c].load();
  if (recycled != 0) {
    head()->free[c].store(*at<uint64_t>(recycled));
    std::memset(at<std::byte>(recycled), 0, size);
    return recycled;
  }
  const Offset block = head()->next.load();
  const size_t rounded = size_t{64} << c;
  if (rounded > memory_.size() - block) return error(ENOMEM, "the pager's shared state of {} bytes is full", memory_.size());
  head()->next.store(block + rounded);
  return block;
}

void Arena::release(Offset block, size_t size) {
  if (block == 0) return;
  std::lock_guard lock(*mutex_);
  auto& list = head()->free[class_of(size)];
  *at<uint64_t>(block) = list.load();
  list.store(block);
}

}  // namespace faultline::lazy
