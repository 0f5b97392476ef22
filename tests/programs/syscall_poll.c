// about: poll(), ppoll(), select() and pselect() with a timeout go on with the remaining time, without one they wake up for data
// timeout: 40
// differs: threads a sleeper may end while the runner compares
// differs: stat.num_threads a sleeper may end while the runner compares
// differs: status.Threads a sleeper may end while the runner compares

#include <poll.h>
#include <pthread.h>
#include <sys/select.h>

#include "scenario.h"
#include "stopped_time.h"

#define SECONDS 2.5

static int idle[2], busy[2];
static volatile pid_t forever_tid;

static void* timed(void* arg) {
  int which = (int)(long)arg, n = -1;
  struct pollfd pfd = {idle[0], POLLIN, 0};
  struct timespec t = {2, 500000000};
  struct timeval tv = {2, 500000};
  fd_set set;
  FD_ZERO(&set);
  FD_SET(idle[0], &set);
  double start = now_of(CLOCK_MONOTONIC);
  switch (which) {
    case 0:
      n = poll(&pfd, 1, 2500);
      break;
    case 1:
      n = ppoll(&pfd, 1, &t, NULL);
      break;
    case 2:
      n = select(idle[0] + 1, &set, NULL, NULL, &tv);
      break;
    case 3:
      n = pselect(idle[0] + 1, &set, NULL, NULL, &t, NULL);
      break;
  }
  static const char* const names[] = {"poll", "ppoll", "select", "pselect"};
  CHECK(n == 0, "%s gives %d instead of a timeout", names[which], n);
  stopped_time_check_loosely(names[which], now_of(CLOCK_MONOTONIC) - start, SECONDS);
  return NULL;
}

static void* forever(void* arg) {
  struct pollfd pfd = {busy[0], POLLIN, 0};
  forever_tid = (pid_t)syscall(SYS_gettid);
  int n = poll(&pfd, 1, -1);
  CHECK(n == 1 && pfd.revents == POLLIN, "poll without timeout gives %d, revents %#x", n, pfd.revents);
  return NULL;
}

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  pthread_t threads[5];
  SYS(pipe(idle));
  SYS(pipe(busy));
  for (long i = 0; i < 4; i++) CHECK(pthread_create(&threads[i], NULL, timed, (void*)i) == 0, "pthread_create");
  CHECK(pthread_create(&threads[4], NULL, forever, NULL) == 0, "pthread_create");
  sleep_ms(1500);
  while (!forever_tid) sleep_ms(1);
  await_syscall(getpid(), forever_tid, SYS_poll);
  stopped_time_begin();
  ready();
  stopped_time_wait_for_go();
  SYS(write(busy[1], "x", 1));
  for (int i = 0; i < 5; i++) pthread_join(threads[i], NULL);
  return 0;
}
