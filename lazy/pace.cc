#include "lazy/pace.h"

#include <algorithm>
#include <utility>

namespace faultline::lazy {

namespace {

constexpr std::chrono::seconds kPeriod(3);  // the way to the server may change, and with it what is short
// So many pages are looked at together. A queue in the network makes all of them late; when only some are, the processors were busy.
constexpr unsigned kGroup = 8;
constexpr uint64_t kPagesPerMillisecond = 512;  // 2 GB/s: nobody takes in more

}  // namespace

void Pace::look_for_shortest(Clock::duration took, Clock::time_point now) {
  if (now >= period_end_) {
    shortest_before_ = std::exchange(shortest_, Clock::duration::max());
    period_end_ = now + kPeriod;
  }
  shortest_ = std::min(shortest_, took);
}

// What is asked for while the first of it comes back. More would not come faster.
uint64_t Pace::enough() const {
  const auto way = std::chrono::duration_cast<std::chrono::microseconds>(std::min(shortest_, shortest_before_));
  return std::clamp(static_cast<uint64_t>(way.count()) * kPagesPerMillisecond / 1000, near_, kMost);
}

void Pace::came(Clock::duration took, Clock::time_point now) {
  look_for_shortest(took, now);
  group_shortest_ = std::min(group_shortest_, took);
  if (++group_ < kGroup) return;
  group_ = 0;
  const bool queue = std::exchange(group_shortest_, Clock::duration::max()) > std::min(shortest_, shortest_before_) + slack_;
  const uint64_t pages = pages_.load(std::memory_order_relaxed);
  if (!queue) {
    // Twice as much until the network is found full for the first time, then in small steps.
    const uint64_t more = std::max<uint64_t>(1, was_full_ ? pages / 8 : pages);
    if (pages < enough()) pages_ = std::min(pages + more, enough());
    return;
  }
  // Those that were asked for before the last cut tell nothing new.
  if (now < next_cut_) return;
  next_cut_ = now + took;
  was_full_ = true;
  pages_ = std::max(kLeast, pages / 2);
}

}  // namespace faultline::lazy
