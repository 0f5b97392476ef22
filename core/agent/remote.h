#pragma once

#include <span>
#include <vector>

#include "arch/registers.h"
#include "core/agent/program.h"
#include "core/sys/ptrace.h"

namespace faultline::agent {

// A stopped thread and the state in which it was found. Everything is put back to that state by Remote::run.
struct StoppedThread {
  sys::Tracee tracee;
  arch::Registers registers;
  arch::CallState call;
  uint64_t blocked = 0;  // its signal mask
};

// Runs one program in each of these threads of one process at the same time, all of them stopped by ptrace, and leaves them stopped
// and as they were; `programs[i]` belongs to `threads[i]` and gets its results. Operations may fail, each for itself.
//
// Should we die at any moment, the threads go on unharmed: they run on code that ends in their interrupted state by itself (arch/entry.h).
// They are not entered through a frame on their own stacks: a stack may have no room for one (small stacks of coroutines), and
// rt_sigreturn(2) would forget the system call that is to be continued with the time that is left.
//
// Errors: ENOTSUP if the process has no place for the first few instructions, ESRCH if it is gone, or what ptrace(2) says.
Result<void> run_in_threads(pid_t pid, std::span<StoppedThread> threads, std::span<Program> programs);

}  // namespace faultline::agent
