#pragma once

#include <chrono>
#include <functional>
#include <vector>

#include "core/agent/remote.h"
#include "core/base/unique_fd.h"
#include "core/sys/proc.h"

namespace faultline::dump {

// A process whose threads all stand still.
struct FrozenTask {
  pid_t pid = 0;
  sys::Stat stat{};
  UniqueFd pidfd;                             // none for a zombie
  std::vector<agent::StoppedThread> threads;  // the leader first; none for a zombie
  // For calls that are to be continued: the time that was left of them when the thread was stopped, by index of the thread; else -1.
  std::vector<int64_t> remaining_ns;

  bool zombie() const { return threads.empty(); }
  int job_stop() const { return zombie() ? 0 : threads.front().tracee.job_stop(); }
};

// An error says why the work is to be given up.
using GoOn = std::function<Result<void>()>;

enum class Afterwards { kRun, kStop, kKill };

// A process tree that stands still as long as this object lives. If it is dropped, or we die, all go on.
class FrozenTree {
 public:
  // Stops the tree below `root` and every thread in it. Parents stand before their children.
  // `go_on` is asked between threads; its error ends the attempt. No call of the tree has failed because of an attempt that ends in an error.
  // Errors: ESRCH, EPERM, ETIMEDOUT if new processes keep appearing for longer than `timeout`, ENOTSUP for what cannot be frozen.
  static Result<FrozenTree> freeze(pid_t root, std::chrono::milliseconds timeout, const GoOn& go_on);

  std::vector<FrozenTask>& tasks() { return tasks_; }
  // Lets go of all processes. kKill ends them, the root first, so that no parent sees a child die.
  Result<void> release(Afterwards how);

 private:
  Result<void> add(pid_t pid, std::chrono::steady_clock::time_point deadline, const GoOn& go_on);
  std::vector<FrozenTask> tasks_;
};

}  // namespace faultline::dump
