// about: a running ITIMER_REAL goes on firing with its interval after the restore

#include <sys/time.h>

#include "scenario.h"

static volatile sig_atomic_t alarms;

static void handler(int sig) { alarms++; }

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
  SYS(sigaction(SIGALRM, &action, NULL));
  SYS(setitimer(ITIMER_REAL, &(struct itimerval){{0, 30000}, {0, 30000}}, NULL));
  while (alarms < 3) sleep_ms(5);
  ready();
  wait_for_go();
  int before = alarms;
  double start = now_of(CLOCK_MONOTONIC);
  while (alarms < before + 5) sleep_ms(5);
  double took = now_of(CLOCK_MONOTONIC) - start;
  CHECK(took > 0.1, "five intervals of 30 ms took %.3f s", took);
  return 0;
}
