// Resource limits. Asked of the process itself, which needs no privilege (CRIU and others need CAP_SYS_RESOURCE for prlimit(2) on others).
#include <sys/resource.h>
#include <sys/syscall.h>

#include "core/objects/task_kinds.h"

namespace faultline::objects {

namespace {

constexpr const char* kNames[RLIM_NLIMITS] = {"CPU",     "FSIZE", "DATA",  "STACK",      "CORE",     "RSS",  "NPROC",  "NOFILE",
                                              "MEMLOCK", "AS",    "LOCKS", "SIGPENDING", "MSGQUEUE", "NICE", "RTPRIO", "RTTIME"};

class Rlimits : public TaskState {
 public:
  void ask(const ThreadView&, agent::Program& program) override {
    limits_ = program.space(RLIM_NLIMITS * sizeof(rlimit64));
    for (uint32_t i = 0; i < RLIM_NLIMITS; ++i)
      steps_[i] = program.syscall(fmt::format("get RLIMIT_{}", kNames[i]), SYS_prlimit64,
                                  {0, i, 0, agent::Program::Data{static_cast<uint32_t>(limits_.offset + i * sizeof(rlimit64))}});
  }

  Result<void> collect(const ThreadView& leader, const agent::Program& program, image::Task& task) override {
    auto& limits = task.core.tc->rlimits.emplace().rlimits;
    for (size_t i = 0; i < RLIM_NLIMITS; ++i) {
      TRY(answer(leader, program, steps_[i], "resource limits"));
      const auto limit = program.get<rlimit64>(limits_, i * sizeof(rlimit64));
      limits.push_back({.cur = limit.rlim_cur, .max = limit.rlim_max});
    }
    return {};
  }

  // Equal limits can always be set, and lower ones.
  void rebuild(const image::Task& task, agent::Program& program) const override {
    if (!task.core.tc->rlimits) return;
    const auto& limits = task.core.tc->rlimits->rlimits;
    for (size_t i = 0; i < limits.size() && i < RLIM_NLIMITS; ++i) {
      const rlimit64 limit = {limits[i].cur, limits[i].max};
      program.syscall(fmt::format("set RLIMIT_{} to {} of at most {} (a hard limit above that of the restoring process takes CAP_SYS_RESOURCE: raise it first, "
                                  "for instance with ulimit -H)", kNames[i], text(limit.rlim_cur), text(limit.rlim_max)),
                      SYS_prlimit64, {0, i, program.value(limit), 0});
    }
  }

 private:
  static std::string text(uint64_t value) { return value == RLIM64_INFINITY ? "unlimited" : std::to_string(value); }

  agent::Program::Data limits_{};
  agent::Program::Step steps_[RLIM_NLIMITS]{};
};

}  // namespace

std::unique_ptr<TaskState> make_rlimits() { return std::make_unique<Rlimits>(); }

}  // namespace faultline::objects
