// setitimer(2): the three interval timers of a process. ITIMER_REAL goes on with the time that was left when the process was frozen.
#include <sys/syscall.h>
#include <sys/time.h>

#include "core/objects/task_kinds.h"

namespace faultline::objects {

namespace {

struct Kind {
  int which;
  const char* name;
  image::ItimerEntry image::TaskTimersEntry::*entry;
};
constexpr Kind kKinds[] = {{ITIMER_REAL, "ITIMER_REAL", &image::TaskTimersEntry::real},
                           {ITIMER_VIRTUAL, "ITIMER_VIRTUAL", &image::TaskTimersEntry::virt},
                           {ITIMER_PROF, "ITIMER_PROF", &image::TaskTimersEntry::prof}};

class Itimers : public TaskState {
 public:
  void ask(const ThreadView&, agent::Program& program) override {
    for (const Kind& kind : kKinds) {
      values_[kind.which] = program.space(sizeof(itimerval));
      steps_[kind.which] = program.syscall(fmt::format("get {}", kind.name), SYS_getitimer, {kind.which, values_[kind.which]});
    }
  }

  Result<void> collect(const ThreadView& leader, const agent::Program& program, image::Task& task) override {
    auto& timers = task.core.tc->timers;
    if (!timers) timers.emplace();
    for (const Kind& kind : kKinds) {
      TRY(answer(leader, program, steps_[kind.which], kind.name));
      const auto v = program.get<itimerval>(values_[kind.which]);
      (*timers).*kind.entry = {.isec = static_cast<uint64_t>(v.it_interval.tv_sec), .iusec = static_cast<uint64_t>(v.it_interval.tv_usec),
                               .vsec = static_cast<uint64_t>(v.it_value.tv_sec), .vusec = static_cast<uint64_t>(v.it_value.tv_usec)};
    }
    return {};
  }

  void rebuild(const image::Task& task, agent::Program& program) const override {
    const auto& timers = task.core.tc->timers;
    if (!timers) return;
    for (const Kind& kind : kKinds) {
      const image::ItimerEntry& e = (*timers).*kind.entry;
      // A new process has none running (fork(2)).
      if (!e.isec && !e.iusec && !e.vsec && !e.vusec) continue;
      itimerval v = {{static_cast<time_t>(e.isec), static_cast<suseconds_t>(e.iusec)}, {static_cast<time_t>(e.vsec), static_cast<suseconds_t>(e.vusec)}};
      // An interval without a value: the timer has fired and its signal was still pending. The kernel starts it anew when the signal is
      // taken (kernel/signal.c), but for the new process no timer has fired; and a value of 0 would drop the interval.
      if (!e.vsec && !e.vusec) v.it_value = v.it_interval;
      program.syscall(fmt::format("start {}", kind.name), SYS_setitimer, {kind.which, program.value(v), 0});
    }
  }

 private:
  agent::Program::Data values_[3]{};
  agent::Program::Step steps_[3]{};
};

}  // namespace

std::unique_ptr<TaskState> make_itimers() { return std::make_unique<Itimers>(); }

}  // namespace faultline::objects
