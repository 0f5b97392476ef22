#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

namespace faultline::lazy {

// How many pages may be on their way from a page server at once, so that a long network is used and a thin one is not filled: as many as leave the
// time that a page takes near the shortest that was seen. came() is for one thread, the rest for any.
class Pace {
 public:
  using Clock = std::chrono::steady_clock;

  static constexpr uint64_t kLeast = 4, kFirst = 64, kMost = 2048;

  // `slack`: when all pages take longer than the shortest by more than this, there is a queue. `near`: what is enough for a near server.
  explicit Pace(Clock::duration slack, uint64_t near = kFirst) : slack_(slack), near_(near) {}

  // A page has come, `took` after it was asked for.
  void came(Clock::duration took, Clock::time_point now);

  uint64_t pages() const { return pages_.load(std::memory_order_relaxed); }

 private:
  uint64_t enough() const;
  void look_for_shortest(Clock::duration took, Clock::time_point now);

  const Clock::duration slack_;
  const uint64_t near_;
  std::atomic<uint64_t> pages_ = kFirst;
  Clock::duration shortest_ = Clock::duration::max(), shortest_before_ = Clock::duration::max();  // of this period and the one before
  Clock::time_point period_end_, next_cut_;
  unsigned group_ = 0;  // pages looked at since the last decision
  Clock::duration group_shortest_ = Clock::duration::max();
  bool was_full_ = false;
};

}  // namespace faultline::lazy
