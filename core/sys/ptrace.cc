#include "core/sys/ptrace.h"

#include <sched.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include <utility>

#include "core/sys/proc.h"

namespace faultline::sys {

using Clock = std::chrono::steady_clock;

namespace {

bool has_ended(pid_t tid) {
  const auto stat = read_stat(tid);
  return stat ? stat->ended() : stat.error().code == ESRCH;
}

}  // namespace

Result<Tracee> Tracee::seize_and_interrupt(pid_t tid, bool die_with_us) {
  if (::ptrace(PTRACE_SEIZE, tid, nullptr, PTRACE_O_TRACESYSGOOD | (die_with_us ? PTRACE_O_EXITKILL : 0)) < 0) {
    // To the kernel one that has ended and was not waited for yet is only one that must not be traced (ptrace_attach() in kernel/ptrace.c).
    const int code = errno;
    if (code == ESRCH || (code == EPERM && has_ended(tid))) return error(ESRCH, "thread {} is gone", tid);
    errno = code;
    return sys_error("thread {} cannot be seized (is it traced already, or is CAP_SYS_PTRACE missing?)", tid);
  }
  Tracee tracee(tid);
  if (::ptrace(PTRACE_INTERRUPT, tid, nullptr, nullptr) < 0) return sys_error("thread {} cannot be interrupted", tid);
  return tracee;
}

Result<void> Tracee::wait_interrupted(Clock::time_point deadline) {
  // A signal may come first; it is put aside, and the stop that we asked for follows.
  for (;;) {
    const int status = TRY(wait(deadline));
    if (status >> 16 == PTRACE_EVENT_STOP) {
      const int signal = WSTOPSIG(status);
      job_stop_ = signal == SIGTRAP ? 0 : signal;
      return {};
    }
    TRY(resume());
  }
}

Result<Tracee> Tracee::stop(pid_t tid) {
  Tracee tracee = TRY(seize_and_interrupt(tid));
  TRY(tracee.wait_interrupted());
  return tracee;
}

Tracee::Tracee(Tracee&& other) noexcept
    : tid_(std::exchange(other.tid_, 0)), job_stop_(other.job_stop_), signals_(std::move(other.signals_)) {}

Tracee& Tracee::operator=(Tracee&& other) noexcept {
  std::swap(tid_, other.tid_);
  std::swap(job_stop_, other.job_stop_);
  std::swap(signals_, other.signals_);
  return *this;
}

Tracee::~Tracee() {
  if (tid_) static_cast<void>(detach());
}

Result<int> Tracee::wait(Clock::time_point deadline) {
  int status = 0;
  pid_t got;
  // Most threads stop within microseconds; only with a deadline may it be necessary to look again and again.
  for (;;) {
    got = ::waitpid(tid_, &status, __WALL | (deadline == Clock::time_point::max() ? 0 : WNOHANG));
    if (got > 0 || (got < 0 && errno != EINTR)) break;
    if (got == 0 && Clock::now() > deadline) return error(ETIMEDOUT, "thread {} cannot be stopped: it waits in the kernel for something else (is it in vfork, or is a disk slow?)", tid_);
    ::sched_yield();
  }
  if (got < 0) return sys_error("waiting for thread {}", tid_);
  if (!WIFSTOPPED(status)) {
    const pid_t tid = std::exchange(tid_, 0);
    return error(ESRCH, "thread {} ended while it was traced", tid);
  }
  const int signal = WSTOPSIG(status);
  if (status >> 16 == 0 && signal != (SIGTRAP | 0x80)) signals_.push_back(signal);
  return status;
}

Result<void> Tracee::resume() {
  if (::ptrace(PTRACE_CONT, tid_, nullptr, nullptr) < 0) return sys_error("thread {} cannot be resumed", tid_);
  return {};
}

Result<void> Tracee::interrupt() {
  if (::ptrace(PTRACE_INTERRUPT, tid_, nullptr, nullptr) < 0) return sys_error("thread {} cannot be interrupted", tid_);
  for (;;) {
    const int status = TRY(wait());
    if (status >> 16 == PTRACE_EVENT_STOP) return {};
    TRY(resume());
  }
}

Result<void> Tracee::to_signal_stop() {
  if (::ptrace(PTRACE_INTERRUPT, tid_, nullptr, nullptr) < 0) return sys_error("thread {} cannot be interrupted", tid_);
  do TRY(resume());
  while (TRY(wait()) >> 16 != PTRACE_EVENT_STOP);
  return {};
}

Result<void> Tracee::take_waiting_stop() {
  const uint64_t mask = TRY(blocked_signals());
  // No other signal that waits may come first.
  TRY(block_signals(~uint64_t{0}));
  TRY(resume());
  const int status = TRY(wait());
  TRY(block_signals(mask));
  if (status >> 16 != 0 || WSTOPSIG(status) != SIGSTOP) return error(EIO, "thread {} stopped otherwise ({:#x}) than by the SIGSTOP that waited for it", tid_, status);
  signals_.pop_back();  // dropped, not to be given back
  return {};
}

Result<void> Tracee::run_one_syscall() {
  for (int stops = 0; stops < 2;) {
    if (::ptrace(PTRACE_SYSCALL, tid_, nullptr, nullptr) < 0) return sys_error("thread {} cannot be resumed", tid_);
    const int status = TRY(wait());
    if (status >> 16 == 0 && WSTOPSIG(status) == (SIGTRAP | 0x80)) ++stops;
  }
  return {};
}

Result<uint64_t> Tracee::blocked_signals() const {
  uint64_t mask;
  if (::ptrace(static_cast<__ptrace_request>(PTRACE_GETSIGMASK), tid_, sizeof mask, &mask) < 0)
    return sys_error("the signal mask of thread {} cannot be read", tid_);
  return mask;
}

Result<void> Tracee::block_signals(uint64_t mask) {
  if (::ptrace(static_cast<__ptrace_request>(PTRACE_SETSIGMASK), tid_, sizeof mask, &mask) < 0)
    return sys_error("the signal mask of thread {} cannot be set", tid_);
  return {};
}

Result<void> Tracee::outlive_us() {
  if (::ptrace(PTRACE_SETOPTIONS, tid_, nullptr, PTRACE_O_TRACESYSGOOD) < 0) return sys_error("thread {} cannot be made independent", tid_);
  return {};
}

Result<void> Tracee::detach(int signal) {
  const pid_t tid = std::exchange(tid_, 0);
  const long done = ::ptrace(PTRACE_DETACH, tid, nullptr, static_cast<long>(signal));
  const int code = errno;
  // Only signals that cannot be blocked come here; their sender's particulars are those of nobody's interest.
  for (int taken : std::exchange(signals_, {})) ::kill(tid, taken);
  errno = code;
  if (done < 0) return sys_error("thread {} cannot be let go", tid);
  return {};
}

}  // namespace faultline::sys
