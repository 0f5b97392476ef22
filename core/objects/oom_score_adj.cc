// /proc/PID/oom_score_adj: how gladly the kernel ends the process when memory runs out.
#include <fcntl.h>
#include <sys/syscall.h>

#include "core/objects/task_kinds.h"
#include "core/sys/proc.h"

namespace faultline::objects {

namespace {

Result<int32_t> read_score(const std::string& path) {
  return static_cast<int32_t>(std::strtol(TRY(sys::read_proc(path)).c_str(), nullptr, 10));
}

class OomScoreAdj : public TaskState {
 public:
  void ask(const ThreadView&, agent::Program&) override {}

  Result<void> collect(const ThreadView& leader, const agent::Program&, image::Task& task) override {
    task.core.tc->oom_score_adj = TRY(read_score(fmt::format("/proc/{}/oom_score_adj", leader.pid)));
    return {};
  }

  // Lowering takes CAP_SYS_RESOURCE, which many containers lack: what is inherited from us already is not written.
  void rebuild(const image::Task& task, agent::Program& program) const override {
    if (!task.core.tc->oom_score_adj) return;
    const int32_t score = *task.core.tc->oom_score_adj;
    if (const auto ours = read_score("/proc/self/oom_score_adj"); ours && *ours == score) return;
    const std::string text = std::to_string(score);
    const auto fd = program.syscall("open /proc/self/oom_score_adj", SYS_openat, {AT_FDCWD, program.text("/proc/self/oom_score_adj"), O_WRONLY | O_CLOEXEC, 0});
    program.syscall(fmt::format("set oom_score_adj to {} (lowering it takes CAP_SYS_RESOURCE)", score), SYS_write, {fd, program.text(text), text.size()});
    program.syscall("close /proc/self/oom_score_adj", SYS_close, {fd});
  }
};

}  // namespace

std::unique_ptr<TaskState> make_oom_score_adj() { return std::make_unique<OomScoreAdj>(); }

}  // namespace faultline::objects
