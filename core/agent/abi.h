#pragma once

// The agent's interface: what the tool writes into a tracee and reads back. Shared by both sides, so that nothing is mirrored by hand.
//
// The agent is an interpreter of lists of operations (a program). It knows nothing of checkpoints: every purpose is in the list.
// All addresses in here are addresses in the tracee. The structures are used by freestanding code: plain data only.

#include <cstdint>

namespace faultline::agent {

enum class OpKind : uint32_t {
  kSyscall,       // result = nr(args...)
  kStoreResult,   // *(uint64_t*)args[0] = args[1]; for operands that a system call takes in memory
  kBarrier,       // args: address of a Barrier, number of the stage. Arrives there and waits until the stage is opened
  kCloneThread,   // args: address of a clone_args (clone3(2), with its own set_tid and stack), address of the new thread's ProgramHeader
  kPark,          // sleeps for ever, to be taken over by ptrace; never returns
};

enum OpFlags : uint32_t {
  kMayFail = 1 << 0,      // the program goes on although the result is an error
  kWhole = 1 << 1,        // a result other than args[2] (the length of a transfer) is EIO
  kArgIsResult0 = 1 << 8, // bit 8 + i: args[i] is the number of an earlier operation, whose result is meant
};

struct Op {
  OpKind kind;
  uint32_t flags;
  uint64_t nr;        // system call number
  uint64_t args[6];
  int64_t result;     // of the system call: -errno on failure
};

enum class State : uint32_t { kReady, kRunning, kDone, kFailed };

// A program in the tracee's memory, followed by its operations, then by its data.
struct ProgramHeader {
  State state;
  uint32_t count;     // operations
  uint32_t done;      // operations that have been executed; after kFailed the number of the one that failed
  uint32_t reserved;
};

inline Op* ops_of(ProgramHeader* program) { return reinterpret_cast<Op*>(program + 1); }

// Where the processes of one restore meet. Lies in memory that all of them and the coordinator share.
// The words are futexes (shared, not private). A stage is passed when the coordinator has set opened above it.
struct Barrier {
  uint32_t arrived[8];  // how many have come to stage i
  uint32_t opened;      // stages below this number are open
  uint32_t failed;      // how many programs stand in State::kFailed; the coordinator is woken through arrived[7]
};

// The interpreter: runs the program, and returns to its caller when all is done or one operation failed.
// Executes on any stack with 512 free bytes, touches no floating point or vector register, needs no libc.
extern "C" void faultline_agent_run(ProgramHeader* program, Barrier* on_failure);

}  // namespace faultline::agent
