// about: POSIX timers: ids (with gaps), clock, notification (signal, thread, none), remaining time and interval

#include <sys/syscall.h>

#include "scenario.h"

// The kernel's own ids, not the C library's, and its own interface.
static int create(clockid_t clock, int notify, int sig, int value) {
  struct sigevent event = {.sigev_notify = notify, .sigev_signo = sig, .sigev_value.sival_int = value};
  if (notify == SIGEV_THREAD_ID) event._sigev_un._tid = (pid_t)syscall(SYS_gettid);
  int id = -1;
  SYS(syscall(SYS_timer_create, clock, &event, &id));
  return id;
}

static void set(int id, long seconds, long interval) {
  struct itimerspec spec = {{interval, 500}, {seconds, 0}};
  SYS(syscall(SYS_timer_settime, id, 0, &spec, NULL));
}

static void check(int id, double low, double high, long interval) {
  struct itimerspec now;
  CHECK(syscall(SYS_timer_gettime, id, &now) == 0, "timer %d is not there", id);
  double left = (double)now.it_value.tv_sec + (double)now.it_value.tv_nsec / 1e9;
  CHECK(left >= low && left <= high, "timer %d: %.3f s left, should be %.3f to %.3f", id, left, low, high);
  CHECK(now.it_interval.tv_sec == interval && now.it_interval.tv_nsec == (high > 0 ? 500 : 0), "timer %d: interval %ld.%09ld", id,
        (long)now.it_interval.tv_sec, now.it_interval.tv_nsec);
}

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  sigset_t set_of;
  sigemptyset(&set_of);
  sigaddset(&set_of, SIGRTMIN + 2);
  SYS(sigprocmask(SIG_BLOCK, &set_of, NULL));
  int gaps[3];
  for (int i = 0; i < 3; i++) gaps[i] = create(CLOCK_REALTIME, SIGEV_NONE, 0, 0);
  int a = create(CLOCK_MONOTONIC, SIGEV_SIGNAL, SIGRTMIN + 2, 111);
  int b = create(CLOCK_REALTIME, SIGEV_THREAD_ID, SIGRTMIN + 2, 222);
  int c = create(CLOCK_BOOTTIME, SIGEV_NONE, 0, 0);
  int disarmed = create(CLOCK_MONOTONIC, SIGEV_SIGNAL, SIGRTMIN + 2, 333);
  for (int i = 0; i < 3; i++) SYS(syscall(SYS_timer_delete, gaps[i]));
  set(a, 1000, 7);
  set(b, 2000, 8);
  set(c, 3000, 9);
  ready();
  wait_for_go();
  check(a, 900, 1000, 7);
  check(b, 1900, 2000, 8);
  check(c, 2900, 3000, 9);
  check(disarmed, 0, 0, 0);
  CHECK(syscall(SYS_timer_getoverrun, gaps[0]) == -1 && errno == EINVAL, "the deleted timer %d has come back", gaps[0]);
  siginfo_t info;
  int ids[] = {a, b, disarmed}, values[] = {111, 222, 333};
  for (int i = 0; i < 3; i++) {
    struct itimerspec soon = {{0, 0}, {0, 10000000}};
    SYS(syscall(SYS_timer_settime, ids[i], 0, &soon, NULL));
    CHECK(sigwaitinfo(&set_of, &info) == SIGRTMIN + 2 && info.si_code == SI_TIMER, "timer %d: signal with code %d", ids[i], info.si_code);
    CHECK(info.si_value.sival_int == values[i] && info.si_timerid == ids[i], "timer %d: value %d timerid %d", ids[i],
          info.si_value.sival_int, info.si_timerid);
  }
  return 0;
}
