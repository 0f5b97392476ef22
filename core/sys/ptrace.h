#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <vector>

#include "core/base/result.h"

namespace faultline::sys {

// One thread under ptrace(2). PTRACE_SEIZE is used, so that nothing is seen by the program, and so that the kernel lets it run on if we
// die. Only the thread of ours that seized it may use it.
class Tracee {
 public:
  // Seizes the thread and stops it. `stopped_by` of the result tells a job-control stop it was already in.
  // Errors: ESRCH if it is gone (or a zombie), EPERM naming the cause.
  static Result<Tracee> stop(pid_t tid);
  // The two halves, so that many threads can be stopped at once. ETIMEDOUT for a thread that cannot be stopped until something that it
  // waits for has happened (state D in /proc, for example the parent in vfork(2)).
  // With `die_with_us` the thread's process is killed should we die before it is let go.
  static Result<Tracee> seize_and_interrupt(pid_t tid, bool die_with_us = false);
  Result<void> wait_interrupted(std::chrono::steady_clock::time_point deadline = std::chrono::steady_clock::time_point::max());

  Tracee(Tracee&& other) noexcept;
  Tracee& operator=(Tracee&& other) noexcept;
  // Lets the thread run on, if it is still ours.
  ~Tracee();

  pid_t tid() const { return tid_; }
  // The stop signal if the thread is in a job-control stop (SIGSTOP, SIGTSTP, ...), else 0.
  int job_stop() const { return job_stop_; }

  Result<void> resume();                 // PTRACE_CONT; the thread must be stopped
  Result<void> interrupt();              // PTRACE_INTERRUPT, and waits until it has stopped
  // Runs the thread up to the end of the next system call that it makes, and stops it there.
  Result<void> run_one_syscall();
  // From any other stop to one on the way of signal delivery, where the kernel decides whether an interrupted system call goes on.
  // No instruction of the thread is executed.
  Result<void> to_signal_stop();
  // Takes away a SIGSTOP that waits for the thread's process, before it has had any effect. Must only be called if there is one: else the
  // thread would run. No instruction of the thread is executed.
  Result<void> take_waiting_stop();
  Result<uint64_t> blocked_signals() const;
  Result<void> block_signals(uint64_t mask);
  // Takes back `die_with_us`.
  Result<void> outlive_us();
  // Ends the tracing. `signal`: delivered on the way, or 0.
  Result<void> detach(int signal = 0);
  // Forgets the thread without touching it (it was killed).
  void forget() { tid_ = 0; }

 private:
  explicit Tracee(pid_t tid) : tid_(tid) {}
  // Waits for the next stop. A signal that arrives instead of the stop that we wait for is kept, to be given back with detach().
  Result<int> wait(std::chrono::steady_clock::time_point deadline = std::chrono::steady_clock::time_point::max());

  pid_t tid_ = 0;
  int job_stop_ = 0;
  std::vector<int> signals_;  // that were taken on the way
};

}  // namespace faultline::sys
