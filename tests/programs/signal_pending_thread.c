// about: signals that are pending for single threads stay with those threads, with their siginfo

#include <pthread.h>

#include "scenario.h"

static volatile int go;
static volatile pid_t tids[3];

// The C library's own sigtimedwait() turns SI_TKILL into SI_USER.
static int take(const sigset_t* set, siginfo_t* info) { return (int)syscall(SYS_rt_sigtimedwait, set, info, &(struct timespec){0, 0}, 8); }

static void* body(void* arg) {
  long i = (long)arg;
  sigset_t set;
  siginfo_t info;
  sigfillset(&set);
  tids[i] = (pid_t)syscall(SYS_gettid);
  while (!go) sleep_ms(10);
  memset(&info, 0, sizeof info);
  CHECK(take(&set, &info) == SIGHUP, "thread %ld: no SIGHUP", i);
  CHECK(info.si_code == SI_TKILL && info.si_pid == getpid(), "thread %ld: SIGHUP with code %d from %d", i, info.si_code, info.si_pid);
  for (int n = 0; n < 5; n++) {
    CHECK(take(&set, &info) == SIGRTMIN + (int)i, "thread %ld: real-time signal %d is missing", i, n);
    CHECK(info.si_code == SI_QUEUE && info.si_value.sival_int == (int)i * 100 + n, "thread %ld: value %d", i, info.si_value.sival_int);
  }
  CHECK(take(&set, &info) == -1 && errno == EAGAIN, "thread %ld: one more signal: %d", i, info.si_signo);
  return NULL;
}

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  sigset_t set;
  sigfillset(&set);
  pthread_sigmask(SIG_BLOCK, &set, NULL);
  pthread_t threads[3];
  for (long i = 0; i < 3; i++) {
    CHECK(pthread_create(&threads[i], NULL, body, (void*)i) == 0, "pthread_create");
    while (!tids[i]) sleep_ms(1);
    SYS(syscall(SYS_tgkill, getpid(), tids[i], SIGHUP));
    for (int n = 0; n < 5; n++)
      CHECK(pthread_sigqueue(threads[i], SIGRTMIN + (int)i, (union sigval){.sival_int = (int)i * 100 + n}) == 0, "pthread_sigqueue");
  }
  ready();
  wait_for_go();
  go = 1;
  for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
  return 0;
}
