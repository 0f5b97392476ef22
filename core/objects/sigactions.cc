// sigaction(2) of the signals 1 to 64 without SIGKILL and SIGSTOP, which have none.
//
// An action that ignores a signal, as the default one of SIGWINCH does, throws away what is pending of it in every thread of the process, also
// where it is blocked (do_sigaction in kernel/signal.c). A signal that comes while it is blocked stays, whatever its action. So the actions are
// set before there is a thread that could put its pending signals back.
#include <signal.h>
#include <sys/syscall.h>

#include "core/objects/task_kinds.h"

namespace faultline::objects {

namespace {

// As the kernel has it, which is not glibc's struct sigaction.
struct KernelAction {
  uint64_t handler, flags, restorer, mask;
};

constexpr int kSignals = 64;
bool has_action(int signal) { return signal != SIGKILL && signal != SIGSTOP; }

class Sigactions : public TaskState {
 public:
  void ask(const ThreadView&, agent::Program& program) override {
    actions_ = program.space((kSignals + 1) * sizeof(KernelAction));
    for (int signal = 1; signal <= kSignals; ++signal) {
      if (!has_action(signal)) continue;
      const agent::Program::Data at{static_cast<uint32_t>(actions_.offset + signal * sizeof(KernelAction))};
      steps_.push_back(program.syscall("get a signal action", SYS_rt_sigaction, {signal, 0, at, sizeof(uint64_t)}));
    }
  }

  Result<void> collect(const ThreadView& leader, const agent::Program& program, image::Task& task) override {
    for (const agent::Program::Step step : steps_) TRY(answer(leader, program, step, "signal actions"));
    task.core.tc->sigactions.clear();
    for (int signal = 1; signal <= kSignals; ++signal) {
      if (!has_action(signal)) continue;
      const auto a = program.get<KernelAction>(actions_, signal * sizeof(KernelAction));
      task.core.tc->sigactions.push_back(
          {.sigaction = a.handler, .flags = a.flags, .restorer = a.restorer, .mask = a.mask, .compat_sigaction = false, .mask_extended = {}});
    }
    return {};
  }

  void rebuild(const image::Task&, agent::Program&) const override {}

  void before_threads(const image::Task& task, agent::Program& program) const override {
    const auto& actions = task.core.tc->sigactions;
    size_t i = 0;
    for (int signal = 1; signal <= kSignals && i < actions.size(); ++signal) {
      if (!has_action(signal)) continue;
      const image::SaEntry& entry = actions[i++];
      const KernelAction a = {entry.sigaction, entry.flags, entry.restorer, entry.mask};
      program.syscall(fmt::format("set the action of signal {}", signal), SYS_rt_sigaction, {signal, program.value(a), 0, sizeof(uint64_t)});
    }
  }

 private:
  agent::Program::Data actions_{};
  std::vector<agent::Program::Step> steps_;
};

}  // namespace

std::unique_ptr<TaskState> make_sigactions() { return std::make_unique<Sigactions>(); }

}  // namespace faultline::objects
