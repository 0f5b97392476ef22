// PR_SET_CHILD_SUBREAPER: whether orphaned descendants become children of this process.
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "core/objects/task_kinds.h"

namespace faultline::objects {

namespace {

class ChildSubreaper : public TaskState {
 public:
  void ask(const ThreadView&, agent::Program& program) override {
    on_ = program.space(sizeof(int));
    step_ = program.syscall("get child-subreaper", SYS_prctl, {PR_GET_CHILD_SUBREAPER, on_, 0, 0, 0});
  }

  Result<void> collect(const ThreadView& leader, const agent::Program& program, image::Task& task) override {
    TRY(answer(leader, program, step_, "child-subreaper"));
    task.core.tc->child_subreaper = program.get<int>(on_) != 0;
    return {};
  }

  void rebuild(const image::Task& task, agent::Program& program) const override {
    // A new process is none (prctl(2)).
    if (task.core.tc->child_subreaper.value_or(false))
      program.syscall("become child-subreaper", SYS_prctl, {PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0});
  }

 private:
  agent::Program::Data on_{};
  agent::Program::Step step_{};
};

}  // namespace

std::unique_ptr<TaskState> make_child_subreaper() { return std::make_unique<ChildSubreaper>(); }

}  // namespace faultline::objects
