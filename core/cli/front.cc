#include "core/cli/front.h"

#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "core/base/log.h"

namespace faultline::cli {

namespace {

constexpr int kStopSignals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};

bool is_ignored(int signal) {
  struct sigaction action;
  return ::sigaction(signal, nullptr, &action) == 0 && action.sa_handler == SIG_IGN;
}

// A blocked signal stays pending even where it is ignored (nohup, a shell's background job): the front must not pass on such a one.
Result<int> wait_in_front(pid_t child) {
  sigset_t wanted;
  ::sigemptyset(&wanted);
  ::sigaddset(&wanted, SIGCHLD);
  for (int signal : kStopSignals)
    if (!is_ignored(signal)) ::sigaddset(&wanted, signal);
  // Whoever reads a descriptor that was handed to us to its end (--status-fd) must not wait for us: the work has it.
  const auto log = static_cast<unsigned>(log::descriptor());
  if (log > 2) (void)::close_range(3, log - 1, 0);
  (void)::close_range(std::max(log, 2U) + 1, ~0U, 0);
  int status = 0;
  for (;;) {
    const int signal = ::sigwaitinfo(&wanted, nullptr);
    if (signal > 0 && signal != SIGCHLD) ::kill(child, signal);
    const pid_t ended = ::waitpid(child, &status, WNOHANG);
    if (ended == child) break;
    if (ended < 0) return sys_error("the working process {} cannot be waited for", child);
  }
  if (WIFEXITED(status)) return WEXITSTATUS(status);
  return error(ECHILD, "the working process {} was ended by SIG{}", child, ::sigabbrev_np(WTERMSIG(status)));
}

}  // namespace

Result<StopRequest> StopRequest::arm(pid_t front) {
  StopRequest request;
  request.front_ = front;
  request.front_group_ = ::getpgrp();
  sigset_t set;
  ::sigemptyset(&set);
  for (int signal : kStopSignals) ::sigaddset(&set, signal);
  request.signals_.reset(::signalfd(-1, &set, SFD_CLOEXEC));
  if (!request.signals_) return sys_error("signalfd");
  // Not in the front's group any more, and still in its session: a progress bar may be drawn from the background too.
  ::signal(SIGTTOU, SIG_IGN);
  if (::setpgid(0, 0) < 0) return sys_error("a process group for the working process");
  if (::prctl(PR_SET_PDEATHSIG, SIGTERM) < 0) return sys_error("PR_SET_PDEATHSIG");
  // It may have died before.
  TRY(request.go_on());
  return request;
}

Result<void> StopRequest::go_on() const {
  if (::getppid() != front_) return error(ECANCELED, "given up, because the process that was started for it has been killed");
  sigset_t pending;
  if (::sigpending(&pending) < 0) return sys_error("sigpending");
  for (int signal : kStopSignals)
    if (::sigismember(&pending, signal)) return error(ECANCELED, "given up on SIG{}", ::sigabbrev_np(signal));
  return {};
}

Result<int> behind_front(const std::function<Result<int>(const StopRequest&)>& work) {
  sigset_t blocked;
  ::sigemptyset(&blocked);
  ::sigaddset(&blocked, SIGCHLD);
  for (int signal : kStopSignals) ::sigaddset(&blocked, signal);
  // From before the fork on, so that none is lost in between.
  ::sigprocmask(SIG_BLOCK, &blocked, nullptr);
  ::signal(SIGCHLD, SIG_DFL);  // a parent that ignores it would make the exit codes of our children disappear
  ::fflush(nullptr);
  const pid_t front = ::getpid();
  const pid_t child = ::fork();
  if (child < 0) return sys_error("there can be no process for the work");
  if (child > 0) return wait_in_front(child);
  const StopRequest stop = TRY(StopRequest::arm(front));
  return work(stop);
}

}  // namespace faultline::cli
