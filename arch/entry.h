#pragma once

#include <sys/user.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "arch/registers.h"

namespace faultline::arch {

// Leaves the current stack for ever: with the stack pointer at `stack_top`, calls run(program, barrier) at the address `run`
// and then parks. For a forked child that gives up its address space.
[[noreturn]] void enter_agent(uint64_t run, uint64_t program, uint64_t barrier, uint64_t stack_top);

// The bytes of a system call instruction.
std::span<const std::byte> syscall_instruction();

// Code for a tracee that must find its way back by itself should the tool die: every stub ends with the interrupted state in all
// registers and goes on where the thread was (an interrupted system call is made again). Position-independent; needs no stack of the
// thread. `mask` is the thread's signal mask, which the stub sets.

// Makes one system call (numbers and arguments are in the registers already), then goes back. The first instruction is the call.
std::vector<std::byte> call_stub(const Registers& interrupted, const CallState& call, uint64_t mask);
// Whether `code` is a stub that call_stub() has made.
bool is_call_stub(std::span<const std::byte> code);
// Where the interpreter returns to; it restores all general registers and flags. Uses 8 bytes of the interpreter's stack.
std::vector<std::byte> return_stub(const Registers& interrupted, const CallState& call);

// The registers of a thread that is to execute run(program, nullptr) on a stack of its own, and then goes to `return_to`.
// The word under the stack's top must hold `return_to` already.
user_regs_struct run_registers(const Registers& interrupted, uint64_t run, uint64_t program, uint64_t stack_top);

}  // namespace faultline::arch
