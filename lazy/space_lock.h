#pragma once

#include <atomic>
#include <cstdint>

namespace faultline::lazy {

// A readers-writer lock for holds of microseconds: spins, then sleeps. A waiting writer keeps new readers out, because the writer is
// a worker with a fault to serve and the reader the background fill. Meets the requirements of std::shared_lock and std::unique_lock.
class SpaceLock {
 public:
  void lock_shared();
  void unlock_shared();
  void lock();
  void unlock();
  // A holder in shared mode that has more to do than is urgent should let go.
  bool writer_waits() const { return writers_.load(std::memory_order_relaxed) != 0; }

 private:
  static constexpr uint32_t kWriter = 1u << 31;
  bool try_shared();
  bool try_exclusive();
  template <typename Try>
  void wait(Try attempt);
  void released();

  std::atomic<uint32_t> state_ = 0;    // readers, or kWriter
  std::atomic<uint32_t> writers_ = 0;  // that wait
  std::atomic<uint32_t> sleepers_ = 0;
  std::atomic<uint32_t> epoch_ = 0;    // changes whenever the lock is released while somebody sleeps
};

}  // namespace faultline::lazy
