#pragma once

#include "core/objects/task_state.h"

// The kinds of process state, each in a file of its own name, and what they share. Only task_state.cc lists them.
namespace faultline::objects {

// Of a thread.
std::unique_ptr<ThreadState> make_altstack();
std::unique_ptr<ThreadState> make_clear_child_tid();
std::unique_ptr<ThreadState> make_comm();
std::unique_ptr<ThreadState> make_creds();
std::unique_ptr<ThreadState> make_pdeath_signal();
std::unique_ptr<ThreadState> make_private_signals();
std::unique_ptr<ThreadState> make_robust_list();
std::unique_ptr<ThreadState> make_rseq();
std::unique_ptr<ThreadState> make_sched();
std::unique_ptr<ThreadState> make_sigmask();

// Of a process.
std::unique_ptr<TaskState> make_child_subreaper();
std::unique_ptr<TaskState> make_dumpable();
std::unique_ptr<TaskState> make_itimers();
std::unique_ptr<TaskState> make_loginuid();
std::unique_ptr<TaskState> make_membarrier();
std::unique_ptr<TaskState> make_oom_score_adj();
std::unique_ptr<TaskState> make_personality();
std::unique_ptr<TaskState> make_posix_timers();
std::unique_ptr<TaskState> make_rlimits();
std::unique_ptr<TaskState> make_shared_signals();
std::unique_ptr<TaskState> make_sigactions();
std::unique_ptr<TaskState> make_thp_disabled();

// The result of an operation that ask() added, which has to have succeeded. Errors: what the call said, naming the thread.
Result<int64_t> answer(const ThreadView& thread, const agent::Program& program, agent::Program::Step step, std::string_view what);

}  // namespace faultline::objects
