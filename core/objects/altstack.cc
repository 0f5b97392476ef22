// sigaltstack(2). The agent runs on a stack that the program does not know, so that it never is "on" the alternate one, and may change it.
#include <signal.h>
#include <sys/syscall.h>

#include "core/objects/task_kinds.h"

namespace faultline::objects {

namespace {

class Altstack : public ThreadState {
 public:
  void ask(agent::Program& program) override {
    stack_ = program.space(sizeof(stack_t));
    step_ = program.syscall("get the alternate signal stack", SYS_sigaltstack, {0, stack_});
  }

  // The flags hold SS_DISABLE and SS_AUTODISARM (bit 31).
  Result<void> collect(const ThreadView& thread, const agent::Program& program, image::CoreEntry& core) override {
    TRY(answer(thread, program, step_, "alternate signal stack"));
    const auto stack = program.get<stack_t>(stack_);
    core.thread_core->sas = {.ss_sp = reinterpret_cast<uint64_t>(stack.ss_sp), .ss_size = stack.ss_size, .ss_flags = static_cast<uint32_t>(stack.ss_flags)};
    return {};
  }

  void rebuild(const image::CoreEntry& core, agent::Program& program) const override {
    if (!core.thread_core->sas) return;
    const image::ThreadSasEntry& sas = *core.thread_core->sas;
    stack_t stack{};
    stack.ss_sp = reinterpret_cast<void*>(sas.ss_sp);
    stack.ss_size = sas.ss_size;
    // A thread that was on its alternate stack when an image was made by other means says so; it cannot be set, it follows from the registers.
    stack.ss_flags = static_cast<int>(sas.ss_flags & ~static_cast<uint32_t>(SS_ONSTACK));
    program.syscall("set the alternate signal stack", SYS_sigaltstack, {program.value(stack), 0});
  }

 private:
  agent::Program::Data stack_{};
  agent::Program::Step step_{};
};

}  // namespace

std::unique_ptr<ThreadState> make_altstack() { return std::make_unique<Altstack>(); }

}  // namespace faultline::objects
