#pragma once

#include <cstdint>

namespace faultline::agent {
struct ProgramHeader;
struct Barrier;
}  // namespace faultline::agent

namespace faultline::arch {

// A system call without libc. Returns -errno on failure.
__attribute__((always_inline)) inline int64_t raw_syscall(uint64_t nr, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t f) {
  int64_t result;
  register uint64_t r10 asm("r10") = d;
  register uint64_t r8 asm("r8") = e;
  register uint64_t r9 asm("r9") = f;
  asm volatile("syscall" : "=a"(result) : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
  return result;
}

// clone3 with the clone_args at `args` (which bring their own stack); the new thread runs `run(program, barrier)` and then parks for ever.
// Returns the new tid, or -errno.
__attribute__((always_inline)) inline int64_t clone_thread(uint64_t args, uint64_t program, uint64_t barrier,
                                                           void (*run)(agent::ProgramHeader*, agent::Barrier*)) {
  int64_t result;
  // The child starts with our registers but its own stack, so that everything it needs must be in registers.
  register uint64_t r12 asm("r12") = program;
  register uint64_t r13 asm("r13") = barrier;
  register void (*r14)(agent::ProgramHeader*, agent::Barrier*) asm("r14") = run;
  asm volatile(
      "syscall\n\t"
      "test %%rax, %%rax\n\t"
      "jnz 1f\n\t"
      "xor %%ebp, %%ebp\n\t"
      "mov %%r12, %%rdi\n\t"
      "mov %%r13, %%rsi\n\t"
      "call *%%r14\n"
      "2:\n\t"
      "mov $34, %%eax\n\t"  // pause
      "syscall\n\t"
      "jmp 2b\n"
      "1:\n"
      : "=a"(result)
      : "a"(435L /* clone3 */), "D"(args), "S"(88UL /* sizeof(clone_args) */), "r"(r12), "r"(r13), "r"(r14)
      : "rcx", "r11", "memory");
  return result;
}

}  // namespace faultline::arch
