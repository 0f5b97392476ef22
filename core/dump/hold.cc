#include "core/dump/hold.h"

#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <utility>

namespace faultline::dump {

namespace {

Result<void> send_stop(const FrozenTask& task) {
  if (::syscall(SYS_pidfd_send_signal, task.pidfd.get(), SIGSTOP, nullptr, 0) < 0 && errno != ESRCH) return sys_error("pid {} cannot be held", task.pid);
  return {};
}

Result<bool> stop_waits(pid_t pid) {
  const std::string status = TRY(sys::read_proc(fmt::format("/proc/{}/status", pid)));
  return (std::strtoull(sys::status_field(status, "ShdPnd").c_str(), nullptr, 16) >> (SIGSTOP - 1) & 1) != 0;
}

}  // namespace

Result<void> Hold::place() {
  for (size_t i = 0; i < tasks_.size(); ++i) {
    const FrozenTask& task = tasks_[i];
    if (task.zombie() || task.job_stop() || TRY(stop_waits(task.pid))) continue;
    TRY(send_stop(task));
    held_.push_back(i);
  }
  return {};
}

Result<void> Hold::lift() {
  Result<void> result;
  for (size_t i : std::exchange(held_, {})) {
    // Sent once more, because somebody's SIGCONT may have taken it away; two that wait are one.
    auto done = send_stop(tasks_[i]);
    if (done) done = tasks_[i].threads.front().tracee.take_waiting_stop();
    if (!done && done.error().code != ESRCH && result) result = std::move(done);
  }
  return result;
}

}  // namespace faultline::dump
