// PR_SET_DUMPABLE: whether the process may be traced by its equals and leaves a core; belongs to the address space.
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "core/objects/task_kinds.h"

namespace faultline::objects {

namespace {

class Dumpable : public TaskState {
 public:
  void ask(const ThreadView&, agent::Program& program) override {
    step_ = program.syscall("get dumpable", SYS_prctl, {PR_GET_DUMPABLE, 0, 0, 0, 0});
  }

  Result<void> collect(const ThreadView& leader, const agent::Program& program, image::Task& task) override {
    task.mm->dumpable = static_cast<int32_t>(TRY(answer(leader, program, step_, "dumpable")));
    return {};
  }

  void rebuild(const image::Task& task, agent::Program& program) const override { finish(task, program); }

  // A change of credentials resets it to the value of fs.suid_dumpable, for all threads at once.
  void finish(const image::Task& task, agent::Program& program) const override {
    if (!task.mm || !task.mm->dumpable) return;
    // 2 (a core that only root can read) is given by the kernel and cannot be set. 0 is as closed to others.
    const int value = *task.mm->dumpable == 1 ? 1 : 0;
    program.syscall("set dumpable", SYS_prctl, {PR_SET_DUMPABLE, value, 0, 0, 0});
  }

 private:
  agent::Program::Step step_{};
};

}  // namespace

std::unique_ptr<TaskState> make_dumpable() { return std::make_unique<Dumpable>(); }

}  // namespace faultline::objects
