#include "core/cli/keeper.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>

#include "core/sys/proc.h"

namespace faultline::cli {

namespace {

Result<int> wait_for(pid_t child, int ready) {
  // Signals are for the restore, which they reach as well: what it has begun it ends, or kills.
  sigset_t all;
  ::sigfillset(&all);
  ::sigprocmask(SIG_BLOCK, &all, nullptr);
  char byte;
  ssize_t n;
  while ((n = ::read(ready, &byte, 1)) < 0 && errno == EINTR) {
  }
  if (n == 1) return 0;
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status)) return WEXITSTATUS(status);
  return error(ECHILD, "the process that restores was killed by signal {}", WTERMSIG(status));
}

void reap_orphans(pid_t root) {
  const auto children = sys::children_of(::getpid());
  if (!children) return;
  for (const pid_t child : *children)
    if (child != root) (void)::waitpid(child, nullptr, WNOHANG);
}

}  // namespace

Result<int> with_keeper(const std::function<Result<int>(Keeper&)>& work) {
  int ready[2], pager[2];
  if (::pipe2(ready, O_CLOEXEC) < 0) return sys_error("cannot make a pipe");
  UniqueFd read_end(ready[0]);
  Keeper keeper;
  keeper.front_.reset(ready[1]);
  if (::pipe2(pager, O_CLOEXEC) < 0) return sys_error("cannot make a pipe");
  keeper.pager_.reset(pager[0]), keeper.pager_end_.reset(pager[1]);
  ::fflush(nullptr);
  const pid_t parent = ::getpid();
  const pid_t child = ::fork();
  if (child < 0) return sys_error("there can be no process for the restore");
  if (child > 0) {
    keeper = {};
    return wait_for(child, read_end.get());
  }
  read_end.reset();
  if (::prctl(PR_SET_PDEATHSIG, SIGKILL) < 0) return sys_error("PR_SET_PDEATHSIG");
  if (::getppid() != parent) return error(ECANCELED, "given up, because the process that was started for it has been killed");
  return work(keeper);
}

Result<void> Keeper::stay(pid_t root) {
  pager_end_.reset();
  (void)::prctl(PR_SET_PDEATHSIG, 0);
  (void)::prctl(PR_SET_NAME, "faultline-keep");
  sigset_t set;
  ::sigemptyset(&set);
  ::sigaddset(&set, SIGCHLD);
  ::sigprocmask(SIG_BLOCK, &set, nullptr);
  const UniqueFd children(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!children) return sys_error("signalfd");
  (void)::setsid();
  // Whoever reads our caller's output to its end must not wait for us.
  if (const UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC)); null)
    for (int fd = 0; fd <= 2; ++fd) ::dup2(null.get(), fd);
  TRY(write_all(front_.get(), "", 1, "the pipe to the starting process"));
  front_.reset();
  for (;;) {
    reap_orphans(root);
    pollfd fds[] = {{pager_.get(), POLLIN, 0}, {children.get(), POLLIN, 0}};
    if (::poll(fds, 2, -1) < 0 && errno != EINTR) return sys_error("cannot wait for the pager");
    if (fds[0].revents) return {};
    signalfd_siginfo info;
    while (::read(children.get(), &info, sizeof info) == sizeof info) {
    }
  }
}

}  // namespace faultline::cli
