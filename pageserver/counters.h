#pragma once

#include <atomic>
#include <cstdint>

namespace faultline::pageserver {

// What a server does, for whoever wants to show it. Written by all workers, read by anybody at any time.
struct Counters {
  using Count = std::atomic<uint64_t>;

  // These only grow.
  Count connections = 0, refused = 0, broken = 0;  // accepted; over the limit; ended because of what the client sent, or did not take
  Count requests_demand = 0, requests_bulk = 0, requests_failed = 0;
  Count bytes_demand = 0, bytes_bulk = 0, bytes_files = 0;  // of pages and files, before they are packed
  Count bytes_sent = 0;                                     // on the wire
  Count pages_zero = 0;
  Count reads_cached = 0, reads_disk = 0;  // of files: at once, or through the ring

  // These go up and down.
  Count sessions = 0;
  Count queued = 0;        // requests that wait
  Count buffer_bytes = 0;  // for replies, in use or kept for reuse
};

}  // namespace faultline::pageserver
