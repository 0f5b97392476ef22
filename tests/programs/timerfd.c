// about: timerfd: clocks, remaining time, interval, unread expirations, one-shot, disarmed, flags

#include <sys/timerfd.h>

#include "scenario.h"

static void check(int fd, double low, double high, double interval, const char* what) {
  struct itimerspec now;
  SYS(timerfd_gettime(fd, &now));
  double left = (double)now.it_value.tv_sec + (double)now.it_value.tv_nsec / 1e9,
         every = (double)now.it_interval.tv_sec + (double)now.it_interval.tv_nsec / 1e9;
  CHECK(left >= low && left <= high, "%s: %.3f s left, should be %.3f to %.3f", what, left, low, high);
  CHECK(every > interval - 1e-6 && every < interval + 1e-6, "%s: interval %.3f, should be %.3f", what, every, interval);
}

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  int far_off = SYS(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK)),
      expired = SYS(timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK));
  int absolute = SYS(timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK)), idle = SYS(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK));
  int periodic = SYS(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK));
  SYS(timerfd_settime(far_off, 0, &(struct itimerspec){{7, 500000000}, {5000, 0}}, NULL));
  SYS(timerfd_settime(expired, 0, &(struct itimerspec){{0, 0}, {0, 1000000}}, NULL));
  time_t wanted = time(NULL) + 3000;
  SYS(timerfd_settime(absolute, TFD_TIMER_ABSTIME, &(struct itimerspec){{0, 0}, {wanted, 0}}, NULL));
  SYS(timerfd_settime(periodic, 0, &(struct itimerspec){{0, 10000000}, {0, 10000000}}, NULL));
  sleep_ms(100);
  ready();
  wait_for_go();
  uint64_t count = 0;
  check(far_off, 4900, 5000, 7.5, "far off");
  check(absolute, 2900, 3001, 0, "absolute");
  check(idle, 0, 0, 0, "disarmed");
  CHECK(read(far_off, &count, 8) == -1 && errno == EAGAIN, "far off: has expired");
  CHECK(read(expired, &count, 8) == 8 && count == 1, "one-shot: %llu expirations unread", (unsigned long long)count);
  CHECK(read(expired, &count, 8) == -1 && errno == EAGAIN, "one-shot: expires again");
  CHECK(read(periodic, &count, 8) == 8 && count >= 9, "periodic: %llu expirations unread, at least 9 were", (unsigned long long)count);
  sleep_ms(50);
  CHECK(read(periodic, &count, 8) == 8 && count >= 3, "periodic: does not go on");
  CHECK(fcntl(expired, F_GETFD) == FD_CLOEXEC && fcntl(idle, F_GETFL) == (O_RDWR | O_NONBLOCK), "flags");
  return 0;
}
