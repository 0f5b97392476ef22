// The code that runs inside tracees. Everything here stands in one section, whose bytes are copied into the tracee as they are;
// so it may call nothing outside, use no constant data, and rely on no relocation (a unit test runs a copy of it).

#include <asm/unistd.h>
#include <linux/futex.h>

#include "arch/agent_calls.h"
#include "core/agent/abi.h"

#define IN_BLOB __attribute__((section("faultline_agent"), used))
#define IN_BLOB_INLINE __attribute__((always_inline)) static inline

namespace faultline::agent {

extern "C" IN_BLOB void faultline_agent_run(ProgramHeader* program, Barrier* barrier);

IN_BLOB_INLINE int64_t call(uint64_t nr, const uint64_t* a) { return arch::raw_syscall(nr, a[0], a[1], a[2], a[3], a[4], a[5]); }

IN_BLOB_INLINE void futex(uint32_t* word, int op, uint32_t value) {
  arch::raw_syscall(__NR_futex, reinterpret_cast<uint64_t>(word), static_cast<uint64_t>(op), value, 0, 0, 0);
}

IN_BLOB_INLINE void pass(Barrier* barrier, uint64_t stage) {
  __atomic_fetch_add(&barrier->arrived[stage], 1, __ATOMIC_SEQ_CST);
  futex(&barrier->arrived[stage], FUTEX_WAKE, 1u << 30);
  for (;;) {
    const uint32_t opened = __atomic_load_n(&barrier->opened, __ATOMIC_SEQ_CST);
    if (opened > stage) return;
    futex(&barrier->opened, FUTEX_WAIT, opened);
  }
}

extern "C" void faultline_agent_run(ProgramHeader* program, Barrier* barrier) {
  program->state = State::kRunning;
  Op* const ops = ops_of(program);
  for (uint32_t i = 0; i < program->count; ++i) {
    Op& op = ops[i];
    program->done = i;
    uint64_t args[6];
    for (int k = 0; k < 6; ++k) args[k] = (op.flags & (kArgIsResult0 << k)) ? static_cast<uint64_t>(ops[op.args[k]].result) : op.args[k];
    if (op.kind == OpKind::kSyscall) {
      op.result = call(op.nr, args);
      if ((op.flags & kWhole) && op.result >= 0 && static_cast<uint64_t>(op.result) != args[2]) op.result = -5;  // EIO
    } else if (op.kind == OpKind::kStoreResult) {
      *reinterpret_cast<uint64_t*>(args[0]) = args[1];
    } else if (op.kind == OpKind::kBarrier) {
      pass(reinterpret_cast<Barrier*>(args[0]), args[1]);
    } else if (op.kind == OpKind::kCloneThread) {
      op.result = arch::clone_thread(args[0], args[1], reinterpret_cast<uint64_t>(barrier), &faultline_agent_run);
    } else {
      for (;;) arch::raw_syscall(__NR_pause, 0, 0, 0, 0, 0, 0);
    }
    if (op.result < 0 && op.result >= -4095 && !(op.flags & kMayFail) &&
        (op.kind == OpKind::kSyscall || op.kind == OpKind::kCloneThread)) {
      __atomic_store_n(&program->state, State::kFailed, __ATOMIC_SEQ_CST);
      if (barrier) {
        __atomic_fetch_add(&barrier->failed, 1, __ATOMIC_SEQ_CST);
        for (uint32_t& word : barrier->arrived) futex(&word, FUTEX_WAKE, 1u << 30);
      }
      return;
    }
  }
  program->done = program->count;
  __atomic_store_n(&program->state, State::kDone, __ATOMIC_SEQ_CST);
}

}  // namespace faultline::agent
