// rseq(2): the area in which the kernel keeps a thread informed of its CPU. glibc registers one for every thread.
// A thread inside a critical section is the affair of those who set its registers.
//
// Rebuilding writes to the area, which may be memory that still is to arrive: whoever serves its page faults must be at work by then.
// A forked leader has its parent's registration, which must be given up while the parent's memory still is there: the kernel takes
// one registration only, and ends a thread whose area it cannot write.
#include <errno.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/objects/task_kinds.h"

namespace faultline::objects {

namespace {

class Rseq : public ThreadState {
 public:
  void ask(agent::Program&) override {}

  Result<void> collect(const ThreadView& thread, const agent::Program&, image::CoreEntry& core) override {
    __ptrace_rseq_configuration c{};
    if (::ptrace(PTRACE_GET_RSEQ_CONFIGURATION, thread.tid, sizeof c, &c) < 0) {
      const int code = errno;
      // A kernel without rseq(2) at all has nothing to be asked.
      if (::syscall(SYS_rseq, nullptr, 0, 0, 0) < 0 && errno == ENOSYS) return {};
      errno = code;
      return sys_error("thread {} of pid {}: its restartable sequences cannot be asked for (this takes Linux 5.13)", thread.tid, thread.pid);
    }
    if (c.rseq_abi_pointer)
      core.thread_core->rseq_entry = {.rseq_abi_pointer = c.rseq_abi_pointer, .rseq_abi_size = c.rseq_abi_size, .signature = c.signature};
    return {};
  }

  void rebuild(const image::CoreEntry& core, agent::Program& program) const override {
    const auto& entry = core.thread_core->rseq_entry;
    if (!entry || !entry->rseq_abi_pointer) return;
    program.syscall("register the restartable sequences", SYS_rseq, {entry->rseq_abi_pointer, entry->rseq_abi_size, 0, entry->signature});
  }
};

}  // namespace

std::unique_ptr<ThreadState> make_rseq() { return std::make_unique<Rseq>(); }

}  // namespace faultline::objects
