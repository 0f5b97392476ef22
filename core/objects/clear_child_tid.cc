// set_tid_address(2): the word that the kernel clears, and wakes waiters of, when a thread ends. pthread_join(3) waits there.
// It can be read by nobody but the thread itself, and only where the kernel has CONFIG_CHECKPOINT_RESTORE.
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "core/objects/task_kinds.h"

namespace faultline::objects {

namespace {

// Each architecture's part of an entry has the word under the same name. Absent parts are made on the way in.
uint64_t* clear_tid_addr(image::CoreEntry& core) {
  if (core.mtype == image::March::AARCH64) return &(core.ti_aarch64 ? *core.ti_aarch64 : core.ti_aarch64.emplace()).clear_tid_addr;
  return &(core.thread_info ? *core.thread_info : core.thread_info.emplace()).clear_tid_addr;
}

class ClearChildTid : public ThreadState {
 public:
  void ask(agent::Program& program) override {
    address_ = program.space(sizeof(uint64_t));
    step_ = program.syscall("get the word to clear at exit", SYS_prctl, {PR_GET_TID_ADDRESS, address_, 0, 0, 0});
  }

  Result<void> collect(const ThreadView& thread, const agent::Program& program, image::CoreEntry& core) override {
    TRY(answer(thread, program, step_, "set_tid_address word (does the kernel have CONFIG_CHECKPOINT_RESTORE?)"));
    *clear_tid_addr(core) = program.get<uint64_t>(address_);
    return {};
  }

  void rebuild(const image::CoreEntry& core, agent::Program& program) const override {
    uint64_t address = 0;
    if (core.thread_info) address = core.thread_info->clear_tid_addr;
    if (core.ti_aarch64) address = core.ti_aarch64->clear_tid_addr;
    program.syscall("set_tid_address", SYS_set_tid_address, {address});
  }

 private:
  agent::Program::Data address_{};
  agent::Program::Step step_{};
};

}  // namespace

std::unique_ptr<ThreadState> make_clear_child_tid() { return std::make_unique<ClearChildTid>(); }

}  // namespace faultline::objects
