// about: restartable sequences stay registered in every thread: the kernel keeps the CPU number in the area up to date

#include <pthread.h>
#include <sys/rseq.h>

#include "scenario.h"

static volatile int go, started;

static struct rseq* area(void) { return (struct rseq*)((char*)__builtin_thread_pointer() + __rseq_offset); }

static void check_cpus(const char* when) {
  cpu_set_t all, one;
  CPU_ZERO(&all);
  SYS(sched_getaffinity(0, sizeof all, &all));
  for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
    if (!CPU_ISSET(cpu, &all)) continue;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    SYS(sched_setaffinity(0, sizeof one, &one));
    uint32_t seen = *(volatile uint32_t*)&area()->cpu_id;
    CHECK(seen == (uint32_t)cpu, "%s: on CPU %d the rseq area says %u", when, cpu, seen);
  }
  SYS(sched_setaffinity(0, sizeof all, &all));
}

static void* body(void* arg) {
  check_cpus("before");
  __sync_fetch_and_add(&started, 1);
  while (!go) sleep_ms(10);
  check_cpus("after");
  // A second registration at another place must be refused: one is in place.
  static __thread struct rseq other __attribute__((aligned(64)));
  CHECK(syscall(SYS_rseq, &other, sizeof other, 0, RSEQ_SIG) == -1, "a second rseq registration is accepted");
  return NULL;
}

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  if (__rseq_size == 0) skip("the C library has not registered rseq");
  pthread_t threads[3];
  for (int i = 0; i < 3; i++) CHECK(pthread_create(&threads[i], NULL, body, NULL) == 0, "pthread_create");
  while (started < 3) sleep_ms(1);
  ready();
  wait_for_go();
  go = 1;
  body(NULL);
  for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
  return 0;
}
