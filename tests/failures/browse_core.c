// Compiled by browse_core.py, statically and dynamically: threads with known names, stacks and values, to be found in a core.
#include <pthread.h>
#include <semaphore.h>

#include "scenario.h"

#define THREADS 3

volatile int known_global = 0x5eed1234;
static volatile int known_data[4] = {11, 22, 33, 44};
static sem_t go;
static pthread_barrier_t started;
static pid_t tids[THREADS];

__attribute__((noinline)) static long inner(long number, volatile long* secret) {
  pthread_barrier_wait(&started);
  while (sem_wait(&go) != 0) continue;
  CHECK(*secret == number * 1000 + 7, "the secret of thread %ld is %ld", number, *secret);
  return number;
}

static void* worker(void* arg) {
  volatile long secret = (long)arg * 1000 + 7;
  tids[(long)arg - 1] = (pid_t)syscall(SYS_gettid);
  return (void*)inner((long)arg, &secret);
}

__attribute__((noinline)) static void depth_two(int there) {
  ready();
  wait_for_go();
  CHECK(there == known_global, "known_global is %d", known_global);
}

__attribute__((noinline)) static void depth_one(int there) {
  depth_two(there + 1);
  known_data[0]++;
}

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  pthread_t threads[THREADS];
  known_global++;
  pthread_barrier_init(&started, NULL, THREADS + 1);
  sem_init(&go, 0, 0);
  for (long i = 0; i < THREADS; i++) CHECK(pthread_create(&threads[i], NULL, worker, (void*)(i + 1)) == 0, "pthread_create");
  pthread_barrier_wait(&started);
  FILE* facts = fopen("facts", "w");
  fprintf(facts, "{\"global\": %d, \"at\": %lu, \"tids\": [%d, %d, %d]}\n", known_global, (unsigned long)&known_global, tids[0], tids[1], tids[2]);
  fclose(facts);
  depth_one(known_global - 1);
  for (int i = 0; i < THREADS; i++) sem_post(&go);
  for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
  return 0;
}
