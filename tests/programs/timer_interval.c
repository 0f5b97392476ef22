// about: the three interval timers (setitimer): remaining time and interval; they fire afterwards

#include <sys/time.h>

#include "scenario.h"

static volatile sig_atomic_t alarms;

static void handler(int sig) { alarms++; }

static double seconds(struct timeval t) { return (double)t.tv_sec + (double)t.tv_usec / 1e6; }

static void check(int which, const char* name, double interval, double low, double high) {
  struct itimerval now;
  SYS(getitimer(which, &now));
  CHECK(seconds(now.it_interval) > interval - 0.005 && seconds(now.it_interval) < interval + 0.005, "%s: interval %.3f", name,
        seconds(now.it_interval));
  CHECK(seconds(now.it_value) >= low && seconds(now.it_value) <= high, "%s: %.3f s left, should be %.3f to %.3f", name,
        seconds(now.it_value), low, high);
}

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  struct sigaction action = {.sa_handler = handler};
  SYS(sigaction(SIGALRM, &action, NULL));
  SYS(setitimer(ITIMER_REAL, &(struct itimerval){{77, 250000}, {5000, 0}}, NULL));
  SYS(setitimer(ITIMER_VIRTUAL, &(struct itimerval){{3, 500000}, {1000, 0}}, NULL));
  SYS(setitimer(ITIMER_PROF, &(struct itimerval){{0, 0}, {2000, 0}}, NULL));
  ready();
  wait_for_go();
  check(ITIMER_REAL, "ITIMER_REAL", 77.25, 4900, 5000);
  check(ITIMER_VIRTUAL, "ITIMER_VIRTUAL", 3.5, 990, 1000.1);
  check(ITIMER_PROF, "ITIMER_PROF", 0, 1990, 2000.1);
  CHECK(alarms == 0, "SIGALRM has come %d times", (int)alarms);
  SYS(setitimer(ITIMER_REAL, &(struct itimerval){{0, 0}, {0, 20000}}, NULL));
  while (!alarms) sleep_ms(5);
  return 0;
}
