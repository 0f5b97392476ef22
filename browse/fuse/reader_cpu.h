#pragma once

#include <sys/types.h>

#include <cstdint>

namespace faultline::browse {

// Brings the answering thread to the processor of the only reader. Two threads that take turns do so fastest on one processor: waking one that sleeps on
// another, idle one takes several times as long as a small read. Readers that are several, or that read much at a time, are better off with a thread elsewhere.
// One of these per answering thread, used by that thread only.
class ReaderCpu {
 public:
  // `reader`, a thread id, is about to be answered a few pages; 0: somebody is, but something else.
  void answering(pid_t reader);
  // For a new thread: its parent may have been bound when it was made.
  static void anywhere();

 private:
  void follow(pid_t reader);
  void let_go();

  pid_t reader_ = 0;
  uint32_t in_a_row_ = 0;
  int cpu_ = -1;  // that this thread is kept on; -1: on none
};

}  // namespace faultline::browse
