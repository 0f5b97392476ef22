#pragma once

#include <sys/types.h>
#include <sys/user.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "core/base/result.h"
#include "core/image/messages.h"

namespace faultline::arch {

// All registers of a ptrace-stopped thread, as ptrace(2) gives them.
struct Registers {
  user_regs_struct general{};
  std::vector<std::byte> vector;  // the regset of the extended state; on x86-64 an XSAVE area in its standard format

  uint64_t instruction() const;
  uint64_t stack() const;
};

// Errors: ESRCH if the thread is gone, otherwise those of ptrace(2).
Result<Registers> read_registers(pid_t tid);
Result<void> write_registers(pid_t tid, const Registers& registers);
Result<void> write_general(pid_t tid, const user_regs_struct& general);
Result<user_regs_struct> read_general(pid_t tid);

// How a stopped thread stands to the system call it was in. The kernel decides what becomes of an interrupted call when the thread goes
// on (arch/x86/kernel/signal.c, arch_do_signal_or_restart); a restored thread never was in that call, so that we decide for it.
enum class Call {
  kNone,      // in user code, or the call has returned
  kRepeat,    // to be made again with the same arguments
  kContinue,  // to be continued by restart_syscall(2), with the time that is left
};
struct CallState {
  Call call = Call::kNone;
  int nr = 0;            // the number of the call; for kContinue the one that first was made, or -1 if that cannot be known
  uint64_t args[6] = {};
};
// `restarted`: which call a thread was in that had been continued before (its registers say only restart_syscall(2) then), or -1.
CallState call_state(const user_regs_struct& general, int restarted);

// The registers as they go into an image: an interrupted call is set up to be made again; one to be continued returns EINTR there,
// for readers that know no better (CRIU's way).
void to_image(const Registers& registers, const CallState& call, image::CoreEntry& core);

// The final registers of a restored thread. `now` are its present ones, for the size and the set of components of this CPU.
// Errors: ENOTSUP if the image has components that this CPU lacks; EBADMSG for values that no CPU has.
Result<Registers> from_image(const image::CoreEntry& core, const Registers& now);
// Whether from_image can succeed on this CPU, before there is a thread.
Result<void> check_image(const image::CoreEntry& core);

// The registers of a thread that made `nr` with these arguments at this instruction pointer and was interrupted there, to be continued.
void set_continue(Registers& registers, int nr, uint64_t instruction);
// Whether the thread is in a call that has failed with EINTR, and is one of those that do so whenever their thread is stopped.
bool fails_when_stopped(const user_regs_struct& general);
// A call that failed with EINTR for no reason of the program's becomes one that the kernel repeats unless a handler runs.
void set_repeat(user_regs_struct& general);

// The registers of a thread whose call has returned `result`.
void set_result(Registers& registers, int64_t result);
bool is_continue(const user_regs_struct& general, int nr);

// A thread that is stopped anywhere makes one system call at `instruction` (the address of a system call instruction).
void set_syscall(user_regs_struct& general, uint64_t instruction, long nr, const uint64_t (&args)[6]);
inline constexpr size_t kSyscallLength = 2;  // bytes of the instruction
int64_t syscall_result(const user_regs_struct& general);

}  // namespace faultline::arch
