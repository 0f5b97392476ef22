// about: each thread keeps its own signal mask

#include <pthread.h>

#include "scenario.h"

static volatile int go, started;

static void make(sigset_t* set, int i) {
  sigemptyset(set);
  for (int sig = 1; sig <= SIGRTMAX; sig++)
    if (sig % 5 == i && sig != SIGKILL && sig != SIGSTOP && (sig < 32 || sig >= SIGRTMIN)) sigaddset(set, sig);
}

static void* body(void* arg) {
  sigset_t wanted, seen;
  make(&wanted, (int)(long)arg);
  pthread_sigmask(SIG_SETMASK, &wanted, NULL);
  __sync_fetch_and_add(&started, 1);
  if (arg) {
    while (!go) sleep_ms(10);
  } else {
    ready();
    wait_for_go();
    go = 1;
  }
  pthread_sigmask(SIG_BLOCK, NULL, &seen);
  for (int sig = 1; sig <= SIGRTMAX; sig++)
    CHECK(sigismember(&seen, sig) == sigismember(&wanted, sig), "thread %ld: signal %d is %sblocked", (long)arg, sig,
          sigismember(&seen, sig) == 1 ? "" : "not ");
  return NULL;
}

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  pthread_t threads[4];
  for (long i = 0; i < 4; i++) CHECK(pthread_create(&threads[i], NULL, body, (void*)(i + 1)) == 0, "pthread_create");
  while (started < 4) sleep_ms(1);
  body(NULL);
  for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
  return 0;
}
