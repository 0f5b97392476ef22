// about: signals that are pending for threads and would be ignored if they were not blocked stay pending

#include <pthread.h>

#include "scenario.h"

// An action that ignores a signal throws away what is pending of it in all threads, so that it must be set before the first thread has its
// signals back. With many threads the first of them are far ahead of the last.
enum { kThreads = 32 };

static volatile int go;
static volatile pid_t tids[kThreads];

// The C library's own sigtimedwait() turns SI_TKILL into SI_USER.
static int take(const sigset_t* set, siginfo_t* info) { return (int)syscall(SYS_rt_sigtimedwait, set, info, &(struct timespec){0, 0}, 8); }

static void check_pending(const char* who) {
  static const int order[] = {SIGHUP, SIGURG, SIGWINCH};
  sigset_t set;
  siginfo_t info;
  sigfillset(&set);
  for (int n = 0; n < 3; n++) {
    memset(&info, 0, sizeof info);
    int got = take(&set, &info);
    CHECK(got == order[n], "%s: signal %d instead of %d", who, got, order[n]);
    CHECK(info.si_code == SI_TKILL && info.si_pid == getpid(), "%s: signal %d with code %d from %d", who, got, info.si_code, info.si_pid);
  }
}

static void send_all(pid_t tid) {
  SYS(syscall(SYS_tgkill, getpid(), tid, SIGHUP));    // ignored by choice
  SYS(syscall(SYS_tgkill, getpid(), tid, SIGURG));    // ignored by default
  SYS(syscall(SYS_tgkill, getpid(), tid, SIGWINCH));  // ignored by default
}

static void* body(void* arg) {
  long i = (long)arg;
  char who[32];
  snprintf(who, sizeof who, "thread %ld", i);
  tids[i] = (pid_t)syscall(SYS_gettid);
  while (!go) sleep_ms(10);
  check_pending(who);
  return NULL;
}

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  sigset_t set;
  sigfillset(&set);
  pthread_sigmask(SIG_BLOCK, &set, NULL);
  signal(SIGHUP, SIG_IGN);
  signal(SIGURG, SIG_DFL);
  signal(SIGWINCH, SIG_DFL);
  pthread_t threads[kThreads];
  for (long i = 0; i < kThreads; i++) {
    CHECK(pthread_create(&threads[i], NULL, body, (void*)i) == 0, "pthread_create");
    while (!tids[i]) sleep_ms(1);
    send_all(tids[i]);
  }
  send_all(getpid());
  ready();
  wait_for_go();
  check_pending("the leader");
  go = 1;
  for (int i = 0; i < kThreads; i++) pthread_join(threads[i], NULL);
  return 0;
}
