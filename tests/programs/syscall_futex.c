// about: futex waits (relative, absolute and without a timeout; private and shared) go on, with the remaining time
// timeout: 40
// differs: threads a sleeper may end while the runner compares
// differs: stat.num_threads a sleeper may end while the runner compares
// differs: status.Threads a sleeper may end while the runner compares

#include <linux/futex.h>
#include <pthread.h>

#include "scenario.h"
#include "stopped_time.h"

#define SECONDS 2.5

static uint32_t word, wake_me;
static volatile pid_t tids[3];

static void* relative(void* arg) {
  struct timespec t = {2, 500000000};
  double start = now_of(CLOCK_MONOTONIC);
  long n = syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, &t, NULL, 0);
  CHECK(n == -1 && errno == ETIMEDOUT, "futex wait with a timeout gives %ld", n);
  stopped_time_check_loosely("futex wait", now_of(CLOCK_MONOTONIC) - start, SECONDS);
  return NULL;
}

static void* absolute(void* arg) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  t.tv_sec += 2;
  long n = syscall(SYS_futex, &word, FUTEX_WAIT_BITSET_PRIVATE, 0, &t, NULL, FUTEX_BITSET_MATCH_ANY);
  CHECK(n == -1 && errno == ETIMEDOUT, "futex wait to an absolute time gives %ld", n);
  CHECK(now_of(CLOCK_MONOTONIC) >= (double)t.tv_sec + (double)t.tv_nsec / 1e9, "ended before its time");
  return NULL;
}

static void* forever(void* arg) {
  int shared = (int)(long)arg;
  tids[shared] = (pid_t)syscall(SYS_gettid);
  long n = syscall(SYS_futex, &wake_me, shared ? FUTEX_WAIT : FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
  CHECK(n == 0, "futex wait gives %ld", n);
  CHECK(wake_me == 1, "woken before its time");
  return NULL;
}

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  pthread_t threads[4];
  for (long i = 0; i < 2; i++) CHECK(pthread_create(&threads[i], NULL, forever, (void*)i) == 0, "pthread_create");
  CHECK(pthread_create(&threads[2], NULL, relative, NULL) == 0, "pthread_create");
  CHECK(pthread_create(&threads[3], NULL, absolute, NULL) == 0, "pthread_create");
  sleep_ms(1500);
  for (int i = 0; i < 2; i++) {
    while (!tids[i]) sleep_ms(1);
    await_syscall(getpid(), tids[i], SYS_futex);
  }
  stopped_time_begin();
  ready();
  stopped_time_wait_for_go();
  wake_me = 1;
  // A private waiter is not found by a shared wake and the other way round.
  CHECK(syscall(SYS_futex, &wake_me, FUTEX_WAKE_PRIVATE, 10, NULL, NULL, 0) == 1, "the private waiter is not waiting");
  CHECK(syscall(SYS_futex, &wake_me, FUTEX_WAKE, 10, NULL, NULL, 0) == 1, "the shared waiter is not waiting");
  for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
  return 0;
}
