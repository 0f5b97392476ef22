// about: x87, SSE and AVX registers, MXCSR and the x87 control word of a thread that computes without any system call

#include <pthread.h>

#include "scenario.h"

#ifdef __x86_64__
static volatile int go, running;
static uint8_t wanted[16][32] __attribute__((aligned(32))), seen[16][32] __attribute__((aligned(32)));
static uint32_t mxcsr_wanted = 0x1f80 | 0x6000 | 0x8000, mxcsr_seen;  // round to zero, flush to zero
static uint16_t control_wanted = 0x0e7f, control_seen;                // round to zero, 53 bits
static long double x87_wanted[4] = {1.25L, -2.5e100L, 3.0L / 7, 1e-4000L}, x87_seen[4];

#define EACH(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)
#define LOAD_YMM(n) "vmovdqa 32*" #n "(%[wanted]), %%ymm" #n "\n"
#define STORE_YMM(n) "vmovdqa %%ymm" #n ", 32*" #n "(%[seen])\n"
#define LOAD_XMM(n) "movdqa 32*" #n "(%[wanted]), %%xmm" #n "\n"
#define STORE_XMM(n) "movdqa %%xmm" #n ", 32*" #n "(%[seen])\n"
#define SPIN(load, store, restore)                                                                                                 \
  __asm__ volatile(                                                                                                                \
      "fldcw %[control]\n ldmxcsr %[mxcsr]\n fldt (%[x])\n fldt 16(%[x])\n fldt 32(%[x])\n fldt 48(%[x])\n" load                   \
      "movl $1, %[running]\n 1: cmpl $0, %[go]\n je 1b\n" store                                                                    \
      "fstpt 48(%[y])\n fstpt 32(%[y])\n fstpt 16(%[y])\n fstpt (%[y])\n fnstcw %[control_seen]\n stmxcsr %[mxcsr_seen]\n" restore \
      : [running] "=m"(running), [control_seen] "=m"(control_seen), [mxcsr_seen] "=m"(mxcsr_seen)                                  \
      : [go] "m"(go), [control] "m"(control_wanted), [mxcsr] "m"(mxcsr_wanted), [x] "r"(x87_wanted), [y] "r"(x87_seen),            \
        [wanted] "r"(wanted), [seen] "r"(seen)                                                                                     \
      : "memory", "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", \
        "xmm13", "xmm14", "xmm15")

static size_t width = 16;

static void* spin(void* arg) {
  if (width == 32)
    SPIN(EACH(LOAD_YMM), EACH(STORE_YMM), "vzeroupper\n");
  else
    SPIN(EACH(LOAD_XMM), EACH(STORE_XMM), "");
  return NULL;
}

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  if (__builtin_cpu_supports("avx")) width = 32;
  for (int i = 0; i < 16; i++) fill(wanted[i], 32, (uint64_t)i);
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, spin, NULL) == 0, "pthread_create");
  while (!running) sleep_ms(1);
  ready();
  wait_for_go();
  go = 1;
  pthread_join(thread, NULL);
  for (int i = 0; i < 16; i++) CHECK(memcmp(seen[i], wanted[i], width) == 0, "vector register %d of %zu bytes has changed", i, width);
  CHECK(memcmp(x87_seen, x87_wanted, 10) == 0, "x87 register 0 has changed");
  for (int i = 0; i < 4; i++) CHECK(memcmp(&x87_seen[i], &x87_wanted[i], 10) == 0, "x87 register %d has changed", i);
  CHECK(mxcsr_seen == mxcsr_wanted, "mxcsr %#x became %#x", mxcsr_wanted, mxcsr_seen);
  CHECK(control_seen == control_wanted, "x87 control word %#x became %#x", control_wanted, control_seen);
  return 0;
}
#else
int main(void) { skip("written for x86_64 only"); }
#endif
