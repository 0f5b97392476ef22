// about: who gets SIGIO of a descriptor and with which signal (F_SETOWN, F_SETSIG, O_ASYNC)

#include "scenario.h"

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGRTMIN + 5);
  sigaddset(&set, SIGIO);
  SYS(sigprocmask(SIG_BLOCK, &set, NULL));
  int ends[2], group[2];
  SYS(pipe(ends));
  SYS(pipe(group));
  SYS(fcntl(ends[0], F_SETOWN, getpid()));
  SYS(fcntl(ends[0], F_SETSIG, SIGRTMIN + 5));
  SYS(fcntl(ends[0], F_SETFL, O_ASYNC));
  SYS(fcntl(group[0], F_SETOWN, -getpgrp()));
  ready();
  wait_for_go();
  CHECK(fcntl(ends[0], F_GETOWN) == getpid() && fcntl(ends[0], F_GETSIG) == SIGRTMIN + 5, "owner %d, signal %d", fcntl(ends[0], F_GETOWN),
        fcntl(ends[0], F_GETSIG));
  int flags = fcntl(ends[0], F_GETFL);
  CHECK(flags & O_ASYNC, "O_ASYNC is lost: %#o", flags);
  struct f_owner_ex owner;
  SYS(fcntl(group[0], F_GETOWN_EX, &owner));
  CHECK(owner.type == F_OWNER_PGRP && owner.pid == getpgrp(), "group owner: type %d pid %d", owner.type, owner.pid);
  SYS(write(ends[1], "x", 1));
  siginfo_t info;
  CHECK(sigtimedwait(&set, &info, &(struct timespec){5, 0}) == SIGRTMIN + 5 && info.si_fd == ends[0], "signal for descriptor %d",
        info.si_fd);
  return 0;
}
