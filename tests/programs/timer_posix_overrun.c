// about: a POSIX timer that has expired many times while its signal was blocked: the signal stays pending, the overrun is counted

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
  SYS(timer_settime(timer, 0, &(struct itimerspec){{0, 10000000}, {0, 10000000}}, NULL));
  sleep_ms(300);
  ready();
  wait_for_go();
  siginfo_t info;
  CHECK(sigwaitinfo(&set, &info) == SIGRTMIN + 1 && info.si_code == SI_TIMER && info.si_value.sival_int == 42, "signal code %d value %d",
        info.si_code, info.si_value.sival_int);
  int overrun = timer_getoverrun(timer);
  CHECK(overrun >= 15, "overrun is %d, at least 29 intervals have passed", overrun);
  double start = now_of(CLOCK_MONOTONIC);
  CHECK(sigwaitinfo(&set, &info) == SIGRTMIN + 1 && now_of(CLOCK_MONOTONIC) - start < 1, "the timer does not go on");
  return 0;
}
