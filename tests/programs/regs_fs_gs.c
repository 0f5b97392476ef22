// about: FS base (thread-local variables) and a GS base that the program has set itself, in two threads

#include <asm/prctl.h>
#include <pthread.h>

#include "scenario.h"

#ifdef __x86_64__
static __thread uint64_t block[4];
static volatile int go, started;

static uint64_t base_of(int which) {
  uint64_t base = 0;
  SYS(syscall(SYS_arch_prctl, which, &base));
  return base;
}

static void* body(void* arg) {
  block[0] = 0x5157 + (uint64_t)arg;
  SYS(syscall(SYS_arch_prctl, ARCH_SET_GS, block));
  uint64_t fs = base_of(ARCH_GET_FS);
  __sync_fetch_and_add(&started, 1);
  while (!go) sleep_ms(10);
  uint64_t value;
  __asm__ volatile("movq %%gs:0, %0" : "=r"(value));
  CHECK(value == 0x5157 + (uint64_t)arg, "gs:0 reads %#lx", (unsigned long)value);
  CHECK(base_of(ARCH_GET_GS) == (uint64_t)block, "GS base is %#lx", (unsigned long)base_of(ARCH_GET_GS));
  CHECK(base_of(ARCH_GET_FS) == fs, "FS base %#lx became %#lx", (unsigned long)fs, (unsigned long)base_of(ARCH_GET_FS));
  return NULL;
}

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  pthread_t threads[2];
  for (long i = 0; i < 2; i++) CHECK(pthread_create(&threads[i], NULL, body, (void*)i) == 0, "pthread_create");
  while (started < 2) sleep_ms(1);
  ready();
  wait_for_go();
  go = 1;
  for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
  return 0;
}
#else
int main(void) { skip("written for x86_64 only"); }
#endif
