#include "arch/entry.h"

namespace faultline::arch {

void enter_agent(uint64_t run, uint64_t program, uint64_t barrier, uint64_t stack_top) {
  // The interpreter unmaps this code while it runs, so that it must never return here: its return address is 0,
  // and its programs end in kPark, or stop at a failed operation and are killed by the coordinator.
  asm volatile(
      "mov %3, %%rsp\n\t"
      "xor %%ebp, %%ebp\n\t"
      "push $0\n\t"
      "jmp *%0\n\t"
      :
      : "r"(run), "D"(program), "S"(barrier), "r"(stack_top)
      : "memory");
  __builtin_unreachable();
}

}  // namespace faultline::arch
