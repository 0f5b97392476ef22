// about: the 32 zmm registers and the 7 mask registers of AVX-512

#include <pthread.h>

#include "scenario.h"

#ifdef __x86_64__
static volatile int go, running;
static uint8_t wanted[32][64] __attribute__((aligned(64))), seen[32][64] __attribute__((aligned(64)));
static uint16_t masks_wanted[8] = {0, 0x1234, 0x2345, 0x3456, 0x4567, 0x5678, 0x6789, 0x789a}, masks_seen[8];

#define EACH(X)                                                                                                                           \
  X(0)                                                                                                                                    \
  X(1)                                                                                                                                    \
  X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15) X(16) X(17) X(18) X(19) X(20) X(21) X(22) X(23) X(24) X(25) \
      X(26) X(27) X(28) X(29) X(30) X(31)
#define MASKS(X) X(1) X(2) X(3) X(4) X(5) X(6) X(7)
#define LOAD(n) "vmovdqa64 64*" #n "(%[wanted]), %%zmm" #n "\n"
#define STORE(n) "vmovdqa64 %%zmm" #n ", 64*" #n "(%[seen])\n"
#define LOAD_MASK(n) "kmovw 2*" #n "(%[masks]), %%k" #n "\n"
#define STORE_MASK(n) "kmovw %%k" #n ", 2*" #n "(%[masks_seen])\n"

static __attribute__((target("avx512f"))) void* spin(void* arg) {
  __asm__ volatile(EACH(LOAD) MASKS(LOAD_MASK) "movl $1, %[running]\n 1: cmpl $0, %[go]\n je 1b\n" EACH(STORE)
                       MASKS(STORE_MASK) "vzeroupper\n"
                   : [running] "=m"(running)
                   : [go] "m"(go), [wanted] "r"(wanted), [seen] "r"(seen), [masks] "r"(masks_wanted), [masks_seen] "r"(masks_seen)
                   : "memory", "cc", "k1", "k2", "k3", "k4", "k5", "k6", "k7", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6",
                     "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "xmm16", "xmm17", "xmm18", "xmm19",
                     "xmm20", "xmm21", "xmm22", "xmm23", "xmm24", "xmm25", "xmm26", "xmm27", "xmm28", "xmm29", "xmm30", "xmm31");
  return NULL;
}

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  if (!__builtin_cpu_supports("avx512f")) skip("this CPU has no AVX-512");
  for (int i = 0; i < 32; i++) fill(wanted[i], 64, (uint64_t)i);
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, spin, NULL) == 0, "pthread_create");
  while (!running) sleep_ms(1);
  ready();
  wait_for_go();
  go = 1;
  pthread_join(thread, NULL);
  for (int i = 0; i < 32; i++) CHECK(memcmp(seen[i], wanted[i], 64) == 0, "zmm%d has changed", i);
  for (int i = 1; i < 8; i++) CHECK(masks_seen[i] == masks_wanted[i], "k%d is %#x, should be %#x", i, masks_seen[i], masks_wanted[i]);
  return 0;
}
#else
int main(void) { skip("written for x86_64 only"); }
#endif
