// PR_SET_THP_DISABLE: no transparent huge pages in this address space.
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "core/base/log.h"
#include "core/objects/task_kinds.h"

namespace faultline::objects {

namespace {

class ThpDisabled : public TaskState {
 public:
  void ask(const ThreadView&, agent::Program& program) override {
    step_ = program.syscall("get THP disable", SYS_prctl, {PR_GET_THP_DISABLE, 0, 0, 0, 0});
  }

  Result<void> collect(const ThreadView& leader, const agent::Program& program, image::Task& task) override {
    const int64_t value = TRY(answer(leader, program, step_, "THP disable"));
    // Linux 6.18 knows more than on and off; no contents depend on it.
    if (value > 1) LOG_WARNING("pid {}: huge pages are disabled with exceptions ({}); an image can only say that they are disabled", leader.pid, value);
    task.mm->thp_disabled = value != 0;
    return {};
  }

  void rebuild(const image::Task& task, agent::Program& program) const override {
    // Always: while the address space is built they are disabled.
    program.syscall("set THP disable", SYS_prctl, {PR_SET_THP_DISABLE, task.mm && task.mm->thp_disabled.value_or(false) ? 1 : 0, 0, 0, 0});
  }

 private:
  agent::Program::Step step_{};
};

}  // namespace

std::unique_ptr<TaskState> make_thp_disabled() { return std::make_unique<ThpDisabled>(); }

}  // namespace faultline::objects
