// The signal that a thread gets when its parent ends (PR_SET_PDEATHSIG).
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "core/objects/task_kinds.h"

namespace faultline::objects {

namespace {

class PdeathSignal : public ThreadState {
 public:
  void ask(agent::Program& program) override {
    signal_ = program.space(sizeof(int));
    step_ = program.syscall("get the parent-death signal", SYS_prctl, {PR_GET_PDEATHSIG, signal_, 0, 0, 0});
  }

  Result<void> collect(const ThreadView& thread, const agent::Program& program, image::CoreEntry& core) override {
    TRY(answer(thread, program, step_, "parent-death signal"));
    if (const int signal = program.get<int>(signal_)) core.thread_core->pdeath_sig = static_cast<uint32_t>(signal);
    return {};
  }

  void rebuild(const image::CoreEntry& core, agent::Program& program) const override {
    // A process in the making dies with the one that makes it; where there is no signal, that is taken back at the switch.
    if (!core.thread_core->pdeath_sig) return;
    program.syscall("set the parent-death signal", SYS_prctl, {PR_SET_PDEATHSIG, *core.thread_core->pdeath_sig, 0, 0, 0});
  }

 private:
  agent::Program::Data signal_{};
  agent::Program::Step step_{};
};

}  // namespace

std::unique_ptr<ThreadState> make_pdeath_signal() { return std::make_unique<PdeathSignal>(); }

}  // namespace faultline::objects
