// about: 16 threads keep tids, thread-local variables, stacks and thread ids; join works

#include <pthread.h>

#include "scenario.h"

#define THREADS 16

static __thread long local = -1;
static pthread_barrier_t started;
static volatile int go;

static void* body(void* arg) {
  long number = (long)arg, on_stack = number * 3 + 1;
  pid_t tid = (pid_t)syscall(SYS_gettid);
  volatile long* address = &on_stack;
  pthread_t self = pthread_self();
  local = number * 7;
  pthread_barrier_wait(&started);
  while (!go) sleep_ms(10);
  CHECK(local == number * 7, "thread %ld: thread-local variable is %ld", number, local);
  CHECK(*address == number * 3 + 1 && address == &on_stack, "thread %ld: stack", number);
  CHECK(syscall(SYS_gettid) == tid && pthread_equal(self, pthread_self()), "thread %ld: tid %d became %ld", number, tid,
        syscall(SYS_gettid));
  return (void*)(number + 100);
}

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  pthread_t threads[THREADS];
  pthread_barrier_init(&started, NULL, THREADS + 1);
  for (long i = 0; i < THREADS; i++) CHECK(pthread_create(&threads[i], NULL, body, (void*)i) == 0, "pthread_create");
  pthread_barrier_wait(&started);
  ready();
  wait_for_go();
  go = 1;
  for (long i = 0; i < THREADS; i++) {
    void* value;
    CHECK(pthread_join(threads[i], &value) == 0 && (long)value == i + 100, "thread %ld gives %ld", i, (long)value);
  }
  return 0;
}
