// The user id under which the audit system knows a session (/proc/PID/loginuid). It is inherited and can be changed by few: recorded only.
#include "core/objects/task_kinds.h"
#include "core/sys/proc.h"

namespace faultline::objects {

namespace {

class Loginuid : public TaskState {
 public:
  void ask(const ThreadView&, agent::Program&) override {}

  Result<void> collect(const ThreadView& leader, const agent::Program&, image::Task& task) override {
    // A kernel without audit has no such file.
    if (const auto text = sys::read_proc(fmt::format("/proc/{}/loginuid", leader.pid)))
      task.core.tc->loginuid = static_cast<uint32_t>(std::strtoul(text->c_str(), nullptr, 10));
    return {};
  }

  void rebuild(const image::Task&, agent::Program&) const override {}
};

}  // namespace

std::unique_ptr<TaskState> make_loginuid() { return std::make_unique<Loginuid>(); }

}  // namespace faultline::objects
