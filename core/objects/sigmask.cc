// sigprocmask(2). Read through ptrace, because the agent runs with a mask of its own; set through ptrace when the thread is handed its
// registers, because until then no signal may arrive.
#include <sys/ptrace.h>

#include "core/objects/task_kinds.h"

namespace faultline::objects {

namespace {

class Sigmask : public ThreadState {
 public:
  void ask(agent::Program&) override {}

  // A leader's mask stands in the entry of its process, that of another thread in its own.
  Result<void> collect(const ThreadView& thread, const agent::Program&, image::CoreEntry& core) override {
    uint64_t mask = 0;
    if (::ptrace(static_cast<__ptrace_request>(PTRACE_GETSIGMASK), thread.tid, sizeof mask, &mask) < 0)
      return sys_error("thread {} of pid {}: its signal mask cannot be read", thread.tid, thread.pid);
    if (core.tc) core.tc->blk_sigset = mask;
    else core.thread_core->blk_sigset = mask;
    return {};
  }

  void rebuild(const image::CoreEntry&, agent::Program&) const override {}
};

}  // namespace

std::unique_ptr<ThreadState> make_sigmask() { return std::make_unique<Sigmask>(); }

}  // namespace faultline::objects
