#include "lazy/space_lock.h"

namespace faultline::lazy {

namespace {

// Some 20 µs: longer than the fill holds the lock for one chunk, shorter than a sleep and a wake-up.
constexpr int kSpins = 8000;

}  // namespace

bool SpaceLock::try_shared() {
  if (writers_.load(std::memory_order_relaxed) != 0) return false;
  uint32_t state = state_.load(std::memory_order_relaxed);
  while ((state & kWriter) == 0)
    if (state_.compare_exchange_weak(state, state + 1, std::memory_order_acquire)) return true;
  return false;
}

bool SpaceLock::try_exclusive() {
  uint32_t free = 0;
  return state_.load(std::memory_order_relaxed) == 0 && state_.compare_exchange_strong(free, kWriter, std::memory_order_acquire);
}

template <typename Try>
void SpaceLock::wait(Try attempt) {
  for (;;) {
    for (int i = 0; i < kSpins; ++i) {
      if (attempt()) return;
      std::atomic_signal_fence(std::memory_order_seq_cst);
    }
    // The epoch is taken before the last attempt: a release after it changes the epoch, and the wait returns at once.
    sleepers_.fetch_add(1);
    const uint32_t epoch = epoch_.load();
    const bool got = attempt();
    if (!got) epoch_.wait(epoch);
    sleepers_.fetch_sub(1);
    if (got) return;
  }
}

void SpaceLock::released() {
  if (sleepers_.load() == 0) return;
  epoch_.fetch_add(1);
  epoch_.notify_all();
}

void SpaceLock::lock_shared() {
  if (!try_shared()) wait([this] { return try_shared(); });
}

void SpaceLock::unlock_shared() {
  state_.fetch_sub(1);
  released();
}

void SpaceLock::lock() {
  if (try_exclusive()) return;
  writers_.fetch_add(1);
  wait([this] { return try_exclusive(); });
  writers_.fetch_sub(1);
  // Readers that slept because a writer waited are woken by this writer's unlock.
}

void SpaceLock::unlock() {
  state_.store(0);
  released();
}

}  // namespace faultline::lazy
