// about: a POSIX timer that has expired many times before its signal was taken: the overrun count of that signal stays readable

#include "scenario.h"

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGRTMIN + 1);
  SYS(sigprocmask(SIG_BLOCK, &set, NULL));
  struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN + 1, .sigev_value.sival_int = 42};
  timer_t timer;
  siginfo_t info;
  SYS(timer_create(CLOCK_MONOTONIC, &event, &timer));
  SYS(timer_settime(timer, 0, &(struct itimerspec){{0, 10000000}, {0, 10000000}}, NULL));
  sleep_ms(300);
  CHECK(sigwaitinfo(&set, &info) == SIGRTMIN + 1, "the timer does not run");
  int before = timer_getoverrun(timer);
  CHECK(before >= 15, "overrun is %d, at least 29 intervals have passed", before);
  ready();
  wait_for_go();
  // A restore lets the timer start in the past, so that the intervals that pass meanwhile count as well.
  int after = timer_getoverrun(timer);
  CHECK(after >= before && after < before + 1000, "overrun is %d, was %d", after, before);
  CHECK(sigwaitinfo(&set, &info) == SIGRTMIN + 1 && info.si_code == SI_TIMER && info.si_value.sival_int == 42, "signal code %d value %d",
        info.si_code, info.si_value.sival_int);
  double start = now_of(CLOCK_MONOTONIC);
  CHECK(sigwaitinfo(&set, &info) == SIGRTMIN + 1 && now_of(CLOCK_MONOTONIC) - start < 1, "the timer does not go on");
  return 0;
}
