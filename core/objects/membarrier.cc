// membarrier(2): which kinds of barriers a process has announced to use. Virtual machines of languages do; unannounced ones fail.
#include <errno.h>
#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/objects/task_kinds.h"

namespace faultline::objects {

namespace {

constexpr int kGetRegistrations = 1 << 9;  // MEMBARRIER_CMD_GET_REGISTRATIONS of Linux 6.3

struct Kind { int use, announce; };
// A barrier that has not been announced fails with EPERM, so that older kernels can be asked by using it; it harms nobody.
// MEMBARRIER_CMD_GLOBAL_EXPEDITED may be used unannounced, and stays unknown there.
constexpr Kind kKinds[] = {
    {MEMBARRIER_CMD_PRIVATE_EXPEDITED, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED},
    {MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE},
    {MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_RSEQ},
};

class Membarrier : public TaskState {
 public:
  void ask(const ThreadView&, agent::Program& program) override {
    registrations_ = program.syscall("get membarrier registrations", SYS_membarrier, {kGetRegistrations, 0, 0});
    if (::syscall(SYS_membarrier, kGetRegistrations, 0, 0) >= 0) return;
    for (const Kind& kind : kKinds) tried_.push_back(program.try_syscall("try a membarrier", SYS_membarrier, {kind.use, 0, 0}));
  }

  Result<void> collect(const ThreadView&, const agent::Program& program, image::Task& task) override {
    uint32_t mask = 0;
    if (const int64_t known = program.result(registrations_); known > 0) mask = static_cast<uint32_t>(known);
    for (size_t i = 0; i < tried_.size(); ++i)
      if (program.result(tried_[i]) == 0) mask |= static_cast<uint32_t>(kKinds[i].announce);
    if (mask) task.core.tc->membarrier_registration_mask = mask;
    return {};
  }

  void rebuild(const image::Task& task, agent::Program& program) const override {
    const uint32_t mask = task.core.tc->membarrier_registration_mask.value_or(0);
    for (uint32_t bit = 1; bit; bit <<= 1)
      if (mask & bit) program.syscall(fmt::format("announce membarriers (command {})", bit), SYS_membarrier, {bit, 0, 0});
  }

 private:
  agent::Program::Step registrations_{};
  std::vector<agent::Program::Step> tried_;
};

}  // namespace

std::unique_ptr<TaskState> make_membarrier() { return std::make_unique<Membarrier>(); }

}  // namespace faultline::objects
