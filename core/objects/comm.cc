// The name of a thread (PR_SET_NAME): up to 15 bytes of any kind.
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <cstring>

#include "core/objects/task_kinds.h"

namespace faultline::objects {

namespace {

constexpr size_t kNameSize = 16;

class Comm : public ThreadState {
 public:
  void ask(agent::Program& program) override {
    name_ = program.space(kNameSize);
    step_ = program.syscall("get the thread's name", SYS_prctl, {PR_GET_NAME, name_, 0, 0, 0});
  }

  Result<void> collect(const ThreadView& thread, const agent::Program& program, image::CoreEntry& core) override {
    TRY(answer(thread, program, step_, "name"));
    const auto* name = reinterpret_cast<const char*>(program.bytes(name_, kNameSize).data());
    core.thread_core->comm = std::string(name, ::strnlen(name, kNameSize));
    if (core.tc) core.tc->comm = *core.thread_core->comm;
    return {};
  }

  void rebuild(const image::CoreEntry& core, agent::Program& program) const override {
    // Old images have the name of the process only.
    if (core.thread_core->comm) set(*core.thread_core->comm, program);
    else if (core.tc) set(core.tc->comm, program);
  }

 private:
  static void set(const std::string& name, agent::Program& program) {
    program.syscall("set the thread's name", SYS_prctl, {PR_SET_NAME, program.text(name), 0, 0, 0});
  }

  agent::Program::Data name_{};
  agent::Program::Step step_{};
};

}  // namespace

std::unique_ptr<ThreadState> make_comm() { return std::make_unique<Comm>(); }

}  // namespace faultline::objects
