#include "lazy/pace.h"

#include <catch2/catch.hpp>

#include <algorithm>

namespace faultline::lazy {
namespace {

using namespace std::chrono_literals;
using Clock = Pace::Clock;

// A network that brings `pages_per_ms` at most, `way` there and back: a page waits for what is on its way before it.
struct Network {
  Clock::duration way;
  double pages_per_ms;

  Clock::duration time_of(uint64_t under_way) const {
    return way + std::chrono::nanoseconds(static_cast<int64_t>(std::max(0.0, static_cast<double>(under_way) / pages_per_ms * 1e6 - static_cast<double>(std::chrono::nanoseconds(way).count()))));
  }
};

// So many pages come one after the other; the longest that one of the last half took.
Clock::duration use(Pace& pace, const Network& network, int pages, Clock::time_point& now) {
  Clock::duration longest{};
  for (int i = 0; i < pages; ++i) {
    const auto took = network.time_of(pace.pages());
    now += took;
    pace.came(took, now);
    if (i >= pages / 2) longest = std::max(longest, took);
  }
  return longest;
}

TEST_CASE("a near server: little is on its way") {
  Pace pace(1ms);
  Clock::time_point now{1h};
  CHECK(pace.pages() == Pace::kFirst);
  use(pace, {.way = 30us, .pages_per_ms = 5000}, 1000, now);
  CHECK(pace.pages() == Pace::kFirst);
}

TEST_CASE("a long way: as much as fits is on its way, soon") {
  Pace pace(1ms);
  Clock::time_point now{1h};
  use(pace, {.way = 10ms, .pages_per_ms = 500}, 48, now);
  CHECK(pace.pages() == Pace::kMost);
}

TEST_CASE("a thin network is not filled") {
  for (const auto way : {200us, 10000us}) {
    Pace pace(1ms);
    Clock::time_point now{1h};
    const Network network = {.way = way, .pages_per_ms = 3};  // 12 MB/s
    const auto longest = use(pace, network, 1000, now);
    CHECK(longest <= way + 3ms);  // the first 64 pages take 21
    CHECK(pace.pages() >= Pace::kLeast);
  }
}

TEST_CASE("late pages of one moment count once") {
  Pace pace(1ms);
  Clock::time_point now{1h};
  for (int i = 0; i < 8; ++i) pace.came(100us, now);
  const uint64_t before = pace.pages();
  for (int i = 0; i < 80; ++i) pace.came(20ms, now + 30ms);
  CHECK(pace.pages() == before / 2);
  for (int i = 0; i < 8; ++i) pace.came(20ms, now + 60ms);
  CHECK(pace.pages() == before / 4);
}

TEST_CASE("some that are late are no queue") {
  Pace pace(1ms);
  Clock::time_point now{1h};
  for (int i = 0; i < 400; ++i) pace.came(i % 3 == 0 ? 5ms : 15ms, now += 15ms);
  CHECK(pace.pages() == Pace::kMost);
}

TEST_CASE("never less than a few pages") {
  Pace pace(1ms);
  Clock::time_point now{1h};
  pace.came(100us, now);
  for (int i = 1; i < 100; ++i) pace.came(1s, now += 50ms);
  CHECK(pace.pages() >= Pace::kLeast);
}

TEST_CASE("a way that has become longer is not taken for a queue for ever") {
  Pace pace(1ms);
  Clock::time_point now{1h};
  use(pace, {.way = 1ms, .pages_per_ms = 500}, 100, now);
  use(pace, {.way = 20ms, .pages_per_ms = 500}, 2000, now);
  CHECK(pace.pages() == Pace::kMost);
}

}  // namespace
}  // namespace faultline::lazy
