#include "core/restore/takeover.h"

#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <ranges>

#include "arch/registers.h"

namespace faultline::restore {

namespace {

const image::CoreEntry& core_of(const image::Task& task, size_t thread) { return thread == 0 ? task.core : task.threads[thread - 1]; }

}  // namespace

Result<void> Takeover::prepare(const std::vector<Parked>& processes) {
  for (const Parked& parked : processes) {
    processes_.push_back({&parked, {}});
    TRY(stop(processes_.back()));
  }
  for (Process& process : processes_) {
    TRY(leave_region(process));
    for (size_t i = 0; i < process.threads.size(); ++i) TRY(set_final(process, i));
  }
  return {};
}

Result<void> Takeover::stop(Process& process) {
  for (uint32_t tid : process.parked->task->tree.threads) process.threads.push_back(TRY(sys::Tracee::seize_and_interrupt(outer_(static_cast<pid_t>(tid)), true)));
  for (size_t i = 0; i < process.threads.size(); ++i) {
    sys::Tracee& thread = process.threads[i];
    TRY(thread.wait_interrupted());
    const auto& call = process.parked->calls[i];
    if (!call) continue;
    // It may have been stopped on its way into the call.
    const int nr = checkpoint_.interrupted.at(process.parked->task->tree.threads[i]).nr;
    while (!arch::is_continue(TRY(arch::read_general(thread.tid())), nr) && *const_cast<volatile const uint32_t*>(&call->program->done) <= call->op) {
      TRY(thread.resume());
      ::sched_yield();
      TRY(thread.interrupt());
    }
  }
  return {};
}

Result<void> Takeover::call(sys::Tracee& leader, const user_regs_struct& general, long nr, const uint64_t (&args)[6], const char* what) {
  user_regs_struct regs = general;
  arch::set_syscall(regs, region_.syscall_instruction(), nr, args);
  TRY(arch::write_general(leader.tid(), regs));
  TRY(leader.run_one_syscall());
  const int64_t result = arch::syscall_result(TRY(arch::read_general(leader.tid())));
  if (result < 0) return error(static_cast<int>(-result), "pid {}: {}: {}", leader.tid(), what, errno_text(static_cast<int>(-result)));
  return {};
}

// The last that a process does for us. It unmaps the region with an instruction that stands in it: the call returns to nowhere, but we
// stop it before it could go on.
Result<void> Takeover::leave_region(Process& process) {
  sys::Tracee& leader = process.threads.front();
  const user_regs_struct before = TRY(arch::read_general(leader.tid()));
  if (!process.parked->task->core.thread_core->pdeath_sig)
    TRY(call(leader, before, SYS_prctl, {PR_SET_PDEATHSIG, 0}, "it cannot be made independent of its maker"));
  const auto [start, end] = region_.range();
  TRY(call(leader, before, SYS_munmap, {start, end - start}, "the agent cannot be removed"));
  // Only in a signal stop does the kernel look whether a system call is to be continued. The state of an interrupted call is still there.
  if (process.parked->calls.front()) {
    TRY(leader.to_signal_stop());
    TRY(arch::write_general(leader.tid(), before));
  }
  return {};
}

Result<void> Takeover::set_final(Process& process, size_t thread) {
  sys::Tracee& tracee = process.threads[thread];
  const image::Task& task = *process.parked->task;
  const image::CoreEntry& core = core_of(task, thread);
  const auto& call = process.parked->calls[thread];
  arch::Registers now = TRY(arch::read_registers(tracee.tid()));
  arch::Registers then = TRY(arch::from_image(core, now));
  if (call) {
    // Either it waits again, for the rest of its time, or that was over before we came here.
    const int nr = checkpoint_.interrupted.at(task.tree.threads[thread]).nr;
    if (arch::is_continue(now.general, nr)) arch::set_continue(then, nr, then.instruction());
    else arch::set_result(then, agent::ops_of(const_cast<agent::ProgramHeader*>(call->program))[call->op].result);
  }
  TRY(arch::write_registers(tracee.tid(), then));
  return tracee.block_signals(thread == 0 ? core.tc->blk_sigset : core.thread_core->blk_sigset.value_or(0));
}

Result<void> Takeover::outlive_us() {
  for (Process& process : processes_)
    for (sys::Tracee& thread : process.threads)
      if (auto done = thread.outlive_us(); !done && done.error().code != ESRCH) return done;
  return {};
}

Result<void> Takeover::release(bool stop) {
  const auto stopped = [&](const Process& process) { return stop || process.parked->task->core.tc->task_state == image::kTaskStopped; };
  // Those that stay stopped first, while nobody runs who could see them run.
  for (const bool want : {true, false})
    for (Process& process : processes_) {
      if (stopped(process) != want) continue;
      if (want) ::kill(process.threads.front().tid(), static_cast<int>(process.parked->task->core.tc->stop_signo.value_or(SIGSTOP)));
      for (sys::Tracee& thread : process.threads)
        // A thread may be gone already: the others run, and end the process if they like.
        if (auto done = thread.detach(); !done && done.error().code != ESRCH) return done;
    }
  processes_.clear();
  return {};
}

void Takeover::bury() {
  for (Process& process : processes_)
    // The leader last: its end can be seen only when there are no other threads any more.
    for (sys::Tracee& thread : std::views::reverse(process.threads)) {
      if (thread.tid() == 0) continue;  // let go before
      int status = 0;
      pid_t got;
      // A stop that nobody has asked for may still be told before.
      do got = ::waitpid(thread.tid(), &status, __WALL);
      while (got < 0 ? errno == EINTR : WIFSTOPPED(status));
      thread.forget();
    }
}

}  // namespace faultline::restore
