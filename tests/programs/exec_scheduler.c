// about: scheduling policy, real-time priority, nice value and reset-on-fork of single threads

#include <pthread.h>
#include <sys/resource.h>

#include "scenario.h"

struct kind {
  int policy, priority, nice;
};

static const struct kind kinds[] = {
    {SCHED_OTHER, 0, 7}, {SCHED_BATCH, 0, 11}, {SCHED_IDLE, 0, 0}, {SCHED_FIFO, 3, 0}, {SCHED_RR | SCHED_RESET_ON_FORK, 5, 0}};
enum { N = sizeof kinds / sizeof kinds[0] };
static volatile int go, started;

static void* body(void* arg) {
  const struct kind* kind = &kinds[(long)arg];
  struct sched_param param = {kind->priority};
  SYS(sched_setscheduler(0, kind->policy, &param));
  if (kind->nice) SYS(setpriority(PRIO_PROCESS, 0, kind->nice));
  __sync_fetch_and_add(&started, 1);
  while (!go) sleep_ms(10);
  CHECK(sched_getscheduler(0) == kind->policy, "policy %#x became %#x", kind->policy, sched_getscheduler(0));
  SYS(sched_getparam(0, &param));
  CHECK(param.sched_priority == kind->priority, "priority %d became %d", kind->priority, param.sched_priority);
  errno = 0;
  CHECK(getpriority(PRIO_PROCESS, 0) == kind->nice, "nice %d became %d", kind->nice, getpriority(PRIO_PROCESS, 0));
  return NULL;
}

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  if (sched_setscheduler(0, SCHED_FIFO, &(struct sched_param){1}) != 0) skip("no right to real-time scheduling: %s", strerror(errno));
  SYS(sched_setscheduler(0, SCHED_OTHER, &(struct sched_param){0}));
  SYS(setpriority(PRIO_PROCESS, 0, 0));  // whoever started us may be nice
  pthread_t threads[N];
  for (long i = 0; i < N; i++) CHECK(pthread_create(&threads[i], NULL, body, (void*)i) == 0, "pthread_create");
  while (started < N) sleep_ms(1);
  SYS(setpriority(PRIO_PROCESS, 0, -4));
  ready();
  wait_for_go();
  go = 1;
  CHECK(getpriority(PRIO_PROCESS, 0) == -4, "nice of the main thread is %d", getpriority(PRIO_PROCESS, 0));
  for (int i = 0; i < N; i++) pthread_join(threads[i], NULL);
  return 0;
}
