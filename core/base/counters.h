#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace faultline {

// What pagers and page servers count, for `--metrics` and `faultline top`. Everything here is atomic numbers that begin at zero, so that it
// may lie in memory shared between processes, and a successor counts on. Writers use relaxed order: each number is right by itself.
using Counter = std::atomic<uint64_t>;

inline void count(Counter& counter, uint64_t n = 1) { counter.fetch_add(n, std::memory_order_relaxed); }
inline void set(Counter& counter, uint64_t value) { counter.store(value, std::memory_order_relaxed); }
inline void count_down(Counter& counter, uint64_t n = 1) { counter.fetch_sub(n, std::memory_order_relaxed); }
inline uint64_t get(const Counter& counter) { return counter.load(std::memory_order_relaxed); }

// How long things took, in classes of microseconds.
struct Latency {
  // The upper bounds of the classes; one more class takes the rest.
  static constexpr std::array<uint32_t, 31> kBounds = {1,   2,   3,    5,    7,    10,   15,   20,    30,    50,     70,     100,    150,     200,    300, 500,
                                                       700, 1000, 1500, 2000, 3000, 5000, 7000, 10000, 20000, 50000, 100000, 200000, 500000, 1000000, 5000000};

  Counter classes[kBounds.size() + 1];
  Counter nanoseconds;  // the sum

  void add(uint64_t ns);
  uint64_t total() const;
};

// The classes at one moment, to be compared with those of another.
struct LatencyView {
  std::array<uint64_t, Latency::kBounds.size() + 1> classes = {};

  static LatencyView of(const Latency& latency);
  LatencyView operator-(const LatencyView& earlier) const;
  uint64_t total() const;
  // The time that the part `q` (0.5: the median) did not exceed, in microseconds, between the bounds of its class; 0 if there is nothing.
  double quantile(double q) const;
};

enum class PagerState : uint64_t { kStarting, kServing, kSourceLost, kComplete, kFailed };
const char* name_of(PagerState state);

struct PagerCounters {
  Counter state;           // a PagerState
  Counter processes;       // that still live
  Counter pages_total;     // lazy pages of all of them
  Counter pages_present;   // those that are in place
  Counter faults;          // messages of the kernel about pages that were touched
  Counter pages_demand;    // put in because somebody waited, with their neighbours
  Counter pages_bulk;      // put in in the background
  Counter pages_recorded;  // put in because a recording said so
  Counter pages_zero;      // of all of these, those that held only zeros
  Counter pages_missing;   // that could not be delivered
  Counter bytes_demand;    // received from the page server
  Counter bytes_bulk;
  Counter queued;      // requests to the page server without an answer yet
  Counter reconnects;  // to the page server
  Counter successors;  // pagers that took over from one that died
  Latency fault;       // from reading the kernel's message to the page in place
};

struct ServerCounters {
  // These only grow.
  Counter connections, refused, broken;  // accepted; over the limit; ended because of what the client sent, or did not take
  Counter requests_demand, requests_bulk, requests_failed;
  Counter bytes_demand, bytes_bulk, bytes_files;  // of pages and files, before they are packed
  Counter bytes_sent;                             // on the wire
  Counter pages_zero;
  Counter reads_cached, reads_disk;  // of files: at once, or through the ring

  // These go up and down.
  Counter sessions;
  Counter queued;        // requests that wait
  Counter buffer_bytes;  // for replies, in use or kept for reuse
};

static_assert(std::atomic<uint64_t>::is_always_lock_free && std::is_trivially_destructible_v<PagerCounters>);

}  // namespace faultline
