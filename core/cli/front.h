#pragma once

#include <signal.h>

#include <functional>

#include "core/base/result.h"
#include "core/base/unique_fd.h"

namespace faultline::cli {

// Tells the process that works for a front when it is to give up: because SIGINT, SIGTERM, SIGHUP or SIGQUIT came, or the front has ended.
class StopRequest {
 public:
  // ECANCELED, saying why, as soon as the work is to be given up. One system call; any thread may ask.
  Result<void> go_on() const;
  // Readable as soon as the work is to be given up.
  int fd() const { return signals_.get(); }
  // The process group of the front, in which the user sees the command.
  pid_t front_group() const { return front_group_; }

 private:
  friend Result<int> behind_front(const std::function<Result<int>(const StopRequest&)>& work);
  static Result<StopRequest> arm(pid_t front);

  UniqueFd signals_;
  pid_t front_ = 0, front_group_ = 0;
};

// Runs `work` in a child, and stays in front of it: passes signals on to it, waits for it, returns its exit code. In the child the result is
// that of `work`, and the caller goes its usual way to the end of the process. So whoever kills the command, even by SIGKILL, kills only the
// front, and the work is given up in good order. The child has a process group of its own, where `kill -9 -PGID` does not meet it.
// Call while there is one thread. Errors, in the front: EAGAIN if there can be no child, ECHILD if it was killed.
Result<int> behind_front(const std::function<Result<int>(const StopRequest&)>& work);

}  // namespace faultline::cli
