#pragma once

#include <cstdint>

namespace faultline::arch {

// Leaves the current stack for ever: with the stack pointer at `stack_top`, calls run(program, barrier) at the address `run`
// and then parks. For a forked child that gives up its address space.
[[noreturn]] void enter_agent(uint64_t run, uint64_t program, uint64_t barrier, uint64_t stack_top);

}  // namespace faultline::arch
