#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>

#include "core/base/mapping.h"

namespace faultline::lazy {

// Memory that outlives a pager: shared between the guard and every pager it starts, at the same address in all of them.
// References inside it are offsets. Survives kill -9 of its user at any instruction: at worst the block in work is lost, never corrupted.
// Safe from any thread of one process; only one process may allocate at a time.
class Arena {
 public:
  using Offset = uint64_t;  // 0: nothing

  // Reserves `size` bytes of address space; memory is spent as it is used.
  static Result<Arena> create(size_t size);

  // A zeroed block of at least `size` bytes, aligned to 64. Errors: ENOMEM if the arena is full.
  Result<Offset> allocate(size_t size);
  // `size` as it was allocated.
  void release(Offset block, size_t size);

  template <typename T>
  T* at(Offset offset) const {
    return reinterpret_cast<T*>(memory_.data() + offset);
  }

 private:
  static constexpr size_t kClasses = 40;
  struct Head {
    std::atomic<uint64_t> next;            // first byte never given out
    std::atomic<uint64_t> free[kClasses];  // lists of blocks of 64 << class bytes; a block's first word is its successor
  };
  Head* head() const { return reinterpret_cast<Head*>(memory_.data()); }

  Mapping memory_;
  std::unique_ptr<std::mutex> mutex_ = std::make_unique<std::mutex>();  // of this process: its death frees it
};

}  // namespace faultline::lazy
