#include "core/objects/task_state.h"

#include "core/objects/task_kinds.h"

namespace faultline::objects {

namespace {

// In the order of rebuilding.
constexpr std::unique_ptr<TaskState> (*kTaskStates[])() = {
    make_personality,
    make_child_subreaper,
    make_thp_disabled,
    make_loginuid,
    make_oom_score_adj,  // opens a file: before the number of open files is limited
    make_sigactions,
    make_posix_timers,   // before pending signals, because it takes signals of its own
    make_shared_signals, // before the limits, which count pending signals
    make_rlimits,
    make_membarrier,
    make_itimers,        // what runs against a clock comes last, so that it does not run out early
    make_dumpable,
};

constexpr std::unique_ptr<ThreadState> (*kThreadStates[])() = {
    make_sigmask,
    make_robust_list,
    make_clear_child_tid,
    make_rseq,
    make_altstack,
    make_comm,
    make_sched,
    make_private_signals,
    make_creds,          // takes away the right to do what stands above
    make_pdeath_signal,  // a change of credentials clears it
};

}  // namespace

std::vector<std::unique_ptr<TaskState>> task_states() {
  std::vector<std::unique_ptr<TaskState>> states;
  for (const auto make : kTaskStates) states.push_back(make());
  return states;
}

std::vector<std::unique_ptr<ThreadState>> thread_states() {
  std::vector<std::unique_ptr<ThreadState>> states;
  for (const auto make : kThreadStates) states.push_back(make());
  return states;
}

Result<int64_t> answer(const ThreadView& thread, const agent::Program& program, agent::Program::Step step, std::string_view what) {
  const int64_t result = program.result(step);
  if (result < 0 && result >= -4095)
    return error(static_cast<int>(-result), "thread {} of pid {}: asked for its {}: {}", thread.tid, thread.pid, what, errno_text(static_cast<int>(-result)));
  return result;
}

}  // namespace faultline::objects
