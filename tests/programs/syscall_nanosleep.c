// about: nanosleep() and clock_nanosleep() go on with the remaining time: not cut short, not begun anew, not interrupted
// timeout: 40
// differs: threads a sleeper may end while the runner compares
// differs: stat.num_threads a sleeper may end while the runner compares
// differs: status.Threads a sleeper may end while the runner compares

#include <pthread.h>

#include "scenario.h"
#include "stopped_time.h"

#define SECONDS 2.5
#define BEFORE 1.5  // already slept when the scenario says ready

static void* relative(void* arg) {
  struct timespec t = {2, 500000000}, left = {0};
  double start = now_of(CLOCK_MONOTONIC);
  CHECK(nanosleep(&t, &left) == 0, "nanosleep was interrupted with %ld.%09ld s left", (long)left.tv_sec, left.tv_nsec);
  stopped_time_check("nanosleep", now_of(CLOCK_MONOTONIC) - start, SECONDS);
  return NULL;
}

static void* on_clock(void* arg) {
  struct timespec t = {2, 500000000}, left = {0};
  double start = now_of(CLOCK_MONOTONIC);
  int err = clock_nanosleep(CLOCK_BOOTTIME, 0, &t, &left);
  CHECK(err == 0, "clock_nanosleep gives %d with %ld.%09ld s left", err, (long)left.tv_sec, left.tv_nsec);
  stopped_time_check("clock_nanosleep", now_of(CLOCK_MONOTONIC) - start, SECONDS);
  return NULL;
}

static void* absolute(void* arg) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  t.tv_sec += 2;
  int err = clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
  CHECK(err == 0, "clock_nanosleep to an absolute time gives %d", err);
  CHECK(now_of(CLOCK_MONOTONIC) >= (double)t.tv_sec + (double)t.tv_nsec / 1e9, "clock_nanosleep ended before the absolute time");
  return NULL;
}

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  void* (*bodies[])(void*) = {relative, on_clock, absolute};
  pthread_t threads[3];
  stopped_time_begin();
  for (int i = 0; i < 3; i++) CHECK(pthread_create(&threads[i], NULL, bodies[i], NULL) == 0, "pthread_create");
  sleep_ms((long)(BEFORE * 1000));
  stopped_time_begin();
  ready();
  stopped_time_wait_for_go();
  for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
  return 0;
}
