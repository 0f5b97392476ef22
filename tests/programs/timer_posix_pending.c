// about: a periodic POSIX timer whose signal is blocked and pending: the signal stays, the timer goes on. (How often it has expired since
// cannot be read from outside: that count begins anew with a restore.)

#include "scenario.h"

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGRTMIN + 1);
  SYS(sigprocmask(SIG_BLOCK, &set, NULL));
  struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN + 1, .sigev_value.sival_int = 42};
  timer_t timer;
  SYS(timer_create(CLOCK_MONOTONIC, &event, &timer));
  SYS(timer_settime(timer, 0, &(struct itimerspec){{100, 0}, {0, 1000000}}, NULL));
  sigset_t pending;
  do SYS(sigpending(&pending));
  while (!sigismember(&pending, SIGRTMIN + 1));
  ready();
  wait_for_go();
  siginfo_t info;
  CHECK(sigtimedwait(&set, &info, &(struct timespec){0, 0}) == SIGRTMIN + 1, "the signal is not pending any more");
  CHECK(info.si_code == SI_TIMER && info.si_value.sival_int == 42, "signal code %d value %d", info.si_code, info.si_value.sival_int);
  CHECK(sigtimedwait(&set, &info, &(struct timespec){0, 0}) < 0 && errno == EAGAIN, "it is pending twice");
  struct itimerspec left;
  SYS(timer_gettime(timer, &left));
  CHECK(left.it_interval.tv_sec == 100 && left.it_value.tv_sec > 50, "the timer has %ld s left of %ld s", (long)left.it_value.tv_sec, (long)left.it_interval.tv_sec);
  return 0;
}
