// about: a thread that is frozen inside a restartable sequence goes on at its abort handler, not in the middle

#include <pthread.h>
#include <sys/rseq.h>

#include "scenario.h"

#ifdef __x86_64__
static volatile int go, running, aborts;

// Spins inside a critical section until `go`; each preemption or signal sends it to its abort handler, which counts and begins anew.
// If it were resumed in the middle after a restore with the section not known to the kernel, nothing would ever count again.
static void* body(void* arg) {
  struct rseq* area = (struct rseq*)((char*)__builtin_thread_pointer() + __rseq_offset);
  __asm__ volatile(
      ".pushsection __rseq_cs, \"aw\"\n .balign 32\n 3: .long 0, 0\n .quad 1f, (2f - 1f), 4f\n .popsection\n"
      ".pushsection .text.rseq_abort, \"ax\"\n .byte 0x0f, 0xb9, 0x3d\n .long 0x53053053\n 4: lock incl %[aborts]\n jmp 5f\n .popsection\n"
      "5: leaq 3b(%%rip), %%rax\n movq %%rax, %[cs]\n"
      "1: movl $1, %[running]\n 6: cmpl $0, %[go]\n je 6b\n nop\n 2:\n"
      : [aborts] "+m"(aborts), [running] "=m"(running), [cs] "=m"(*(uint64_t*)&area->rseq_cs)
      : [go] "m"(go)
      : "rax", "memory", "cc");
  return NULL;
}

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  if (__rseq_size == 0) skip("the C library has not registered rseq");
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, body, NULL) == 0, "pthread_create");
  while (!running) sleep_ms(1);
  ready();
  wait_for_go();
  // The section must still be live: a preemption aborts it. Force one by moving the thread between CPUs.
  int before = aborts;
  cpu_set_t all, one;
  SYS(sched_getaffinity(0, sizeof all, &all));
  for (int round = 0; round < 2000 && aborts == before; round++)
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
      if (CPU_ISSET(cpu, &all)) {
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        CHECK(pthread_setaffinity_np(thread, sizeof one, &one) == 0, "pthread_setaffinity_np");
        sleep_ms(1);
      }
  CHECK(aborts > before, "the critical section is not aborted any more when its thread is moved");
  pthread_setaffinity_np(thread, sizeof all, &all);
  go = 1;
  pthread_join(thread, NULL);
  return 0;
}
#else
int main(void) { skip("written for x86_64 only"); }
#endif
