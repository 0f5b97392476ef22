#pragma once

#include <sys/types.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <thread>

namespace faultline::browse {

// Serves one who reads single pages, one after the other, from his own processor. Two threads that take turns do so fastest there: waking one on an
// idle virtual processor takes 50 µs and more, a small read 10. The scheduler moves the reader to an idle processor nevertheless, so that a thread of the idle class
// (sched(7), SCHED_IDLE), which takes time from nobody, makes that one look busy for a moment after each read.
// One of these per answering thread, used by that thread only.
class LoneReader {
 public:
  LoneReader() = default;
  ~LoneReader();
  LoneReader(const LoneReader&) = delete;

  // `reader`, a thread id, is about to be answered a few pages; 0: somebody is, but something else.
  void answering(pid_t reader);
  // For a new answering thread: the one that has made it may have been bound then.
  static void unbind();

 private:
  using Clock = std::chrono::steady_clock;

  void follow();
  void let_go();
  void wake_keeper();
  void keep_busy();

  pid_t reader_ = 0;
  uint32_t in_a_row_ = 0;
  int cpu_ = -1;  // to which this thread is bound; -1: to none

  std::jthread keeper_;
  std::atomic<int> busy_cpu_ = -1;
  std::atomic<Clock::rep> until_ = 0;
  std::atomic<uint32_t> turns_ = 0;  // changes when the keeper is to look again
  std::atomic<bool> ending_ = false;
};

}  // namespace faultline::browse
