// Scheduling policy, real-time priority and nice value of a thread.
#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "core/objects/task_kinds.h"

namespace faultline::objects {

namespace {

constexpr int kDeadline = 6;  // SCHED_DEADLINE, which <sched.h> of glibc does not have

// A policy without the flag SCHED_RESET_ON_FORK, which travels in the same number.
int plain(uint32_t policy) { return static_cast<int>(policy & ~static_cast<uint32_t>(SCHED_RESET_ON_FORK)); }
bool real_time(uint32_t policy) { return plain(policy) == SCHED_FIFO || plain(policy) == SCHED_RR; }

class Sched : public ThreadState {
 public:
  void ask(agent::Program& program) override {
    priority_ = program.space(sizeof(sched_param));
    policy_ = program.syscall("sched_getscheduler", SYS_sched_getscheduler, {0});
    param_ = program.syscall("sched_getparam", SYS_sched_getparam, {0, priority_});
    nice_ = program.syscall("getpriority", SYS_getpriority, {PRIO_PROCESS, 0});
  }

  Result<void> collect(const ThreadView& thread, const agent::Program& program, image::CoreEntry& core) override {
    const auto policy = static_cast<uint32_t>(TRY(answer(thread, program, policy_, "scheduling policy")));
    TRY(answer(thread, program, param_, "real-time priority"));
    if (plain(policy) == kDeadline)
      return error(ENOTSUP, "thread {} of pid {} is scheduled by SCHED_DEADLINE, which images have no place for; change it with chrt(1)", thread.tid, thread.pid);
    core.thread_core->sched_policy = policy;
    if (real_time(policy)) core.thread_core->sched_prio = static_cast<uint32_t>(program.get<sched_param>(priority_).sched_priority);
    // The system call itself gives 1 to 40, to tell nice values from errors.
    core.thread_core->sched_nice = static_cast<int32_t>(20 - TRY(answer(thread, program, nice_, "nice value")));
    return {};
  }

  void rebuild(const image::CoreEntry& core, agent::Program& program) const override {
    const image::ThreadCoreEntry& t = *core.thread_core;
    if (t.sched_nice)
      program.syscall(fmt::format("set the nice value to {} (lowering it takes CAP_SYS_NICE)", *t.sched_nice), SYS_setpriority, {PRIO_PROCESS, 0, *t.sched_nice});
    if (!t.sched_policy) return;
    sched_param param{};
    if (real_time(*t.sched_policy)) param.sched_priority = static_cast<int>(t.sched_prio.value_or(0));
    program.syscall(fmt::format("set scheduling policy {} (real-time policies take CAP_SYS_NICE)", plain(*t.sched_policy)), SYS_sched_setscheduler,
                    {0, *t.sched_policy, program.value(param)});
  }

 private:
  agent::Program::Data priority_{};
  agent::Program::Step policy_{}, param_{}, nice_{};
};

}  // namespace

std::unique_ptr<ThreadState> make_sched() { return std::make_unique<Sched>(); }

}  // namespace faultline::objects
