// about: 1000 threads, each blocked in a futex, keep their tids and wake up
// timeout: 90

#include <pthread.h>

#include "scenario.h"

#define THREADS 1000

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t wake = PTHREAD_COND_INITIALIZER, arrived = PTHREAD_COND_INITIALIZER;
static int go, count, woken;
static pid_t tids[THREADS];

static void* body(void* arg) {
  long i = (long)arg;
  tids[i] = (pid_t)syscall(SYS_gettid);
  pthread_mutex_lock(&lock);
  if (++count == THREADS) pthread_cond_signal(&arrived);
  while (!go) pthread_cond_wait(&wake, &lock);
  woken++;
  CHECK(syscall(SYS_gettid) == tids[i], "thread %ld: tid %d became %ld", i, tids[i], syscall(SYS_gettid));
  pthread_mutex_unlock(&lock);
  return NULL;
}

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  static pthread_t threads[THREADS];
  pthread_attr_t attr;
  pthread_attr_init(&attr);
  pthread_attr_setstacksize(&attr, 65536);
  for (long i = 0; i < THREADS; i++) {
    int err = pthread_create(&threads[i], &attr, body, (void*)i);
    if (err == EAGAIN) skip("the machine does not allow %d threads", THREADS);
    CHECK(err == 0, "pthread_create: %d", err);
  }
  pthread_mutex_lock(&lock);
  while (count < THREADS) pthread_cond_wait(&arrived, &lock);
  pthread_mutex_unlock(&lock);
  ready();
  wait_for_go();
  pthread_mutex_lock(&lock);
  go = 1;
  pthread_cond_broadcast(&wake);
  pthread_mutex_unlock(&lock);
  for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
  CHECK(woken == THREADS, "%d of %d threads woke up", woken, THREADS);
  return 0;
}
