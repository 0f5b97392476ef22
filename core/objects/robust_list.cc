// set_robust_list(2): where the kernel finds the robust futexes that a thread holds when it dies. A new thread has none.
#include <linux/futex.h>
#include <sys/syscall.h>

#include "core/objects/task_kinds.h"

namespace faultline::objects {

namespace {

class RobustList : public ThreadState {
 public:
  void ask(agent::Program& program) override {
    head_ = program.space(sizeof(uint64_t));
    length_ = program.space(sizeof(uint64_t));
    step_ = program.syscall("get_robust_list", SYS_get_robust_list, {0, head_, length_});
  }

  Result<void> collect(const ThreadView& thread, const agent::Program& program, image::CoreEntry& core) override {
    TRY(answer(thread, program, step_, "robust list"));
    core.thread_core->futex_rla = program.get<uint64_t>(head_);
    core.thread_core->futex_rla_len = static_cast<uint32_t>(program.get<uint64_t>(length_));
    return {};
  }

  void rebuild(const image::CoreEntry& core, agent::Program& program) const override {
    // The kernel knows one length only. 0 stands for "none" in images of other tools.
    const uint32_t length = core.thread_core->futex_rla_len;
    program.syscall("set_robust_list", SYS_set_robust_list, {core.thread_core->futex_rla, length ? length : sizeof(robust_list_head)});
  }

 private:
  agent::Program::Data head_{}, length_{};
  agent::Program::Step step_{};
};

}  // namespace

std::unique_ptr<ThreadState> make_robust_list() { return std::make_unique<RobustList>(); }

}  // namespace faultline::objects
