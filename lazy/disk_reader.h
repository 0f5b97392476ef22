#pragma once

#include <liburing.h>

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "lazy/fault_server.h"

namespace faultline::lazy {

// Brings parts of the pages files into the page cache, many at once through io_uring, so that no thread that serves faults waits for a disk.
class DiskReader {
 public:
  // Who waits for a part: a fault. Served again when the part has come.
  struct Waiter {
    Space* space;
    Vaddr address;
    uint64_t since_ns;  // when the fault was read
  };
  // Called by the reader's thread when a read has ended; error 0 or an errno.
  using Ready = std::function<void(const std::vector<Waiter>& waiters, int error)>;
  // Called by the reader's thread when all that was asked for without a waiter has been read.
  using Idle = std::function<void()>;

  DiskReader(const Memory& memory, Ready ready, Idle idle) : memory_(memory), ready_(std::move(ready)), idle_(std::move(idle)) {}
  ~DiskReader();
  DiskReader(const DiskReader&) = delete;

  // Errors: those of io_uring_setup(2), eventfd(2) and of thread creation.
  Result<void> start();
  // Safe from any thread, also from Ready. Equal requests under way are joined.
  void want(const Wanted& wanted, const Waiter* waiter);
  // Stops without finishing what is queued.
  void stop();

 private:
  static constexpr unsigned kInFlight = 32;
  static constexpr uint64_t kBlock = 64 << 10;
  using Key = std::pair<uint32_t, uint64_t>;  // file, offset
  struct Read {
    Key key;
    uint64_t length;
  };

  void run();
  void submit_queued();
  void finish(unsigned slot, int result);

  const Memory& memory_;
  Ready ready_;
  Idle idle_;
  UniqueFd wake_;
  io_uring ring_ = {};
  bool ring_made_ = false;
  uint64_t wake_value_ = 0;
  // The bytes themselves are of no interest: they are in the page cache afterwards. Not zeroed: that would be half of the pager's start.
  std::unique_ptr<std::byte[]> buffers_;

  std::mutex mutex_;                // guards what follows
  bool stopping_ = false;
  std::deque<Read> queue_;
  std::map<Key, std::vector<Waiter>> waiting_;  // queued or in flight
  std::vector<Read> slots_;
  std::vector<unsigned> free_slots_;
  unsigned background_ = 0;         // requests without a waiter that are not done

  std::thread thread_;              // last: uses everything above
};

}  // namespace faultline::lazy
