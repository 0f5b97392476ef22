#pragma once

#include <vector>

#include "core/dump/freeze.h"

namespace faultline::dump {

// Sees to it that the processes of a frozen tree cannot go on by themselves, should we die: a SIGSTOP waits for each. The kernel lets go of
// traced threads then, and the first that they meet, before any instruction of theirs, is this signal.
class Hold {
 public:
  // The tree stays the caller's, and frozen. Any thread may call place(); only the tracer's, lift().
  explicit Hold(std::vector<FrozenTask>& tasks) : tasks_(tasks) {}

  // Processes that a job-control stop holds already need nothing; neither do those for which a SIGSTOP of somebody else waits.
  // (A SIGCONT that waits is lost: the kernel keeps one of the two. Where it has a handler, the handler will not run.)
  Result<void> place();
  // Takes it back: the processes are as before.
  Result<void> lift();

 private:
  std::vector<FrozenTask>& tasks_;
  std::vector<size_t> held_;  // indexes
};

}  // namespace faultline::dump
