#include "core/restore/pidns.h"

#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/sys/proc.h"

namespace faultline::restore {

Result<pid_t> PidNamespace::begin(Births& births) {
  clone_args args = {};
  args.flags = CLONE_NEWPID | CLONE_NEWNS;
  args.exit_signal = SIGCHLD;
  const long pid = ::syscall(SYS_clone3, &args, sizeof args);
  if (pid == 0) init(births);
  if (pid < 0) return sys_error("a new pid namespace cannot be made (--new-pidns)");
  first_ = static_cast<pid_t>(pid);
  return first_;
}

void PidNamespace::init(Births& births) {
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_SLAVE, nullptr) < 0 || ::mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr) < 0)
    births.fail(errno, "a /proc for the new pid namespace");
  if (births.root_pid() == 1) births.become_root();
  auto root = births.begin(false);
  if (!root) births.fail(root.error().code, root.error().what.c_str());
  ::syscall(SYS_close_range, 0, ~0u, 0);
  // Signals to the first process of a namespace from inside it have no effect without handlers; those from outside end the namespace.
  for (;;) {
    int status = 0;
    const pid_t dead = ::waitpid(-1, &status, __WALL);
    if (dead == *root) ::_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
    if (dead < 0 && errno == ECHILD) ::_exit(1);
  }
}

Result<pid_t> PidNamespace::learn_pids(pid_t root) {
  TRY(learn(first_));
  if (!outer_.contains(root)) return error(ESRCH, "the root process {} cannot be found in the new pid namespace", root);
  return outer(root);
}

Result<void> PidNamespace::learn(pid_t pid) {
  for (pid_t tid : TRY(sys::threads_of(pid))) {
    const std::string ids = sys::status_field(TRY(sys::read_proc(fmt::format("/proc/{}/task/{}/status", pid, tid))), "NSpid");
    outer_[std::atoi(ids.c_str() + ids.find_last_of(" \t") + 1)] = tid;
  }
  for (pid_t child : TRY(sys::children_of(pid))) TRY(learn(child));
  return {};
}

pid_t PidNamespace::outer(pid_t inner) const {
  const auto at = outer_.find(inner);
  return at == outer_.end() ? -1 : at->second;
}

Result<void> PidNamespace::alive() const {
  siginfo_t info{};
  if (::waitid(P_PID, static_cast<id_t>(first_), &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid != 0)
    return error(ECHILD, "the first process of the new pid namespace died while the tree was restored");
  return {};
}

void PidNamespace::kill() const {
  if (first_ > 0) ::kill(first_, SIGKILL);
}

void PidNamespace::reap() const {
  if (first_ <= 0) return;
  while (::waitpid(first_, nullptr, __WALL) < 0 && errno == EINTR) {}
}

}  // namespace faultline::restore
