// about: all general registers of a thread that computes without any system call

#include <pthread.h>

#include "scenario.h"

#ifdef __x86_64__
static volatile int go;
static volatile int running;
static uint64_t seen[15];
extern const uint64_t regs_wanted[15];
const uint64_t regs_wanted[15] = {0x1111111111111101, 0x2222222222222202, 0x3333333333333303, 0x4444444444444404, 0x5555555555555505,
                                  0x6666666666666606, 0x7777777777777707, 0x8888888888888808, 0x9999999999999909, 0xaaaaaaaaaaaaaa0a,
                                  0xbbbbbbbbbbbbbb0b, 0xcccccccccccccc0c, 0xdddddddddddddd0d, 0xeeeeeeeeeeeeee0e, 0xfffffffffffff10f};

// The loop reads only the flag at a fixed address; every register except rsp holds its pattern all the while.
static void* spin(void* arg) {
  __asm__ volatile(
      "push %%rbp\n push %%rbx\n"
      "lea regs_wanted(%%rip), %%rax\n"
      "mov 8(%%rax), %%rbx\n mov 16(%%rax), %%rcx\n mov 24(%%rax), %%rdx\n mov 32(%%rax), %%rsi\n mov 40(%%rax), %%rdi\n"
      "mov 48(%%rax), %%rbp\n mov 56(%%rax), %%r8\n mov 64(%%rax), %%r9\n mov 72(%%rax), %%r10\n mov 80(%%rax), %%r11\n"
      "mov 88(%%rax), %%r12\n mov 96(%%rax), %%r13\n mov 104(%%rax), %%r14\n mov 112(%%rax), %%r15\n mov (%%rax), %%rax\n"
      "movl $1, %[running]\n"
      "1: cmpl $0, %[go]\n je 1b\n"
      "mov %%rax, %[seen]\n mov %%rbx, 8+%[seen]\n mov %%rcx, 16+%[seen]\n mov %%rdx, 24+%[seen]\n mov %%rsi, 32+%[seen]\n"
      "mov %%rdi, 40+%[seen]\n mov %%rbp, 48+%[seen]\n mov %%r8, 56+%[seen]\n mov %%r9, 64+%[seen]\n mov %%r10, 72+%[seen]\n"
      "mov %%r11, 80+%[seen]\n mov %%r12, 88+%[seen]\n mov %%r13, 96+%[seen]\n mov %%r14, 104+%[seen]\n mov %%r15, 112+%[seen]\n"
      "pop %%rbx\n pop %%rbp\n"
      : [seen] "=m"(seen), [running] "=m"(running)
      : [go] "m"(go)
      : "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "memory", "cc");
  return NULL;
}

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, spin, NULL) == 0, "pthread_create");
  while (!running) sleep_ms(1);
  ready();
  wait_for_go();
  go = 1;
  pthread_join(thread, NULL);
  for (int i = 0; i < 15; i++)
    CHECK(seen[i] == regs_wanted[i], "register %d is %#lx, should be %#lx", i, (unsigned long)seen[i], (unsigned long)regs_wanted[i]);
  return 0;
}
#else
int main(void) { skip("written for x86_64 only"); }
#endif
