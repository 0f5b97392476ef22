// about: signalfd: its mask, flags, and pending signals are read from it

#include <sys/signalfd.h>

#include "scenario.h"

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  sigset_t set, two;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  sigaddset(&set, SIGRTMIN + 7);
  sigemptyset(&two);
  sigaddset(&two, SIGUSR2);
  int fd = SYS(signalfd(-1, &set, SFD_NONBLOCK)), other = SYS(signalfd(-1, &two, SFD_CLOEXEC | SFD_NONBLOCK));
  sigaddset(&set, SIGUSR2);
  SYS(sigprocmask(SIG_BLOCK, &set, NULL));
  SYS(sigqueue(getpid(), SIGRTMIN + 7, (union sigval){.sival_int = 4242}));
  ready();
  wait_for_go();
  struct signalfd_siginfo info;
  CHECK(read(fd, &info, sizeof info) == sizeof info && info.ssi_signo == (uint32_t)SIGRTMIN + 7 && info.ssi_int == 4242,
        "signal %u with %d", info.ssi_signo, info.ssi_int);
  CHECK(read(fd, &info, sizeof info) == -1 && errno == EAGAIN, "one more signal");
  SYS(kill(getpid(), SIGUSR2));
  CHECK(read(fd, &info, sizeof info) == -1 && errno == EAGAIN, "the first one takes SIGUSR2");
  CHECK(read(other, &info, sizeof info) == sizeof info && info.ssi_signo == SIGUSR2, "the second one has no SIGUSR2");
  CHECK(fcntl(other, F_GETFD) == FD_CLOEXEC && fcntl(fd, F_GETFL) == (O_RDWR | O_NONBLOCK), "flags");
  return 0;
}
