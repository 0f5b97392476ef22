#include "core/dump/freeze.h"

#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <ranges>
#include <set>

#include "arch/entry.h"

namespace faultline::dump {

namespace {

using Clock = std::chrono::steady_clock;

bool read_memory(pid_t pid, Vaddr from, void* to, size_t size) {
  iovec here = {to, size}, there = {reinterpret_cast<void*>(from), size};
  return ::process_vm_readv(pid, &here, 1, &there, 1, 0) == static_cast<ssize_t>(size);
}

int64_t nanoseconds(const timespec& t) { return t.tv_sec * 1'000'000'000 + t.tv_nsec; }

// When the scheduler last put a thread on a CPU, on its own clock; 0 if it does not tell. A thread that sleeps in a call has slept since.
int64_t last_run_ns(pid_t pid, pid_t tid) {
  auto text = sys::read_proc(fmt::format("/proc/{}/task/{}/sched", pid, tid));
  if (!text) return 0;
  const size_t at = text->find("se.exec_start");
  if (at == std::string::npos) return 0;
  return static_cast<int64_t>(std::strtod(text->c_str() + text->find(':', at) + 1, nullptr) * 1e6);
}

// The scheduler's clock is another one on each CPU: in a virtual machine it leaves out the time in which the CPU was taken away. So we go
// to the CPU on which the thread ran last, and look at our own entry there.
int64_t since_last_run(pid_t pid, pid_t tid) {
  const int64_t since = last_run_ns(pid, tid);
  auto stat = sys::read_stat(pid, tid);
  cpu_set_t before, one;
  if (since == 0 || !stat || ::sched_getaffinity(0, sizeof before, &before) < 0) return 0;
  CPU_ZERO(&one);
  CPU_SET(static_cast<size_t>(stat->cpu), &one);
  if (::sched_setaffinity(0, sizeof one, &one) < 0) return 0;
  ::sched_yield();  // brings our entry up to date
  const int64_t now = last_run_ns(::getpid(), static_cast<pid_t>(::syscall(SYS_gettid)));
  ::sched_setaffinity(0, sizeof before, &before);
  return now > since ? now - since : 0;
}

// What a thread is doing before it is stopped, which wakes it.
struct Before {
  int64_t asleep_ns = 0;  // for how long it has been asleep in its call
  int restarted = -1;     // the call that it continues by restart_syscall(2)
  bool repeated = false;  // keep_call() has changed its registers
};

// The call behind a restart_syscall(2): where it sleeps tells which it is, and its first argument tells one clock call from the other.
int restarted_call(pid_t pid, pid_t tid, uint64_t first_argument) {
  auto where = sys::read_proc(fmt::format("/proc/{}/task/{}/wchan", pid, tid));
  if (!where) return -1;
  const auto in = [&](const char* word) { return where->find(word) != std::string::npos; };
  constexpr uint64_t kClocks = 16;  // an address is never so small
  if (in("nanosleep")) return first_argument < kClocks ? SYS_clock_nanosleep : SYS_nanosleep;
  return in("futex") ? SYS_futex : in("poll") ? SYS_poll : -1;
}

Before look_before(pid_t pid, pid_t tid) {
  Before before;
  auto text = sys::read_proc(fmt::format("/proc/{}/task/{}/syscall", pid, tid));
  if (!text) return before;
  char* rest = nullptr;
  const long nr = std::strtol(text->c_str(), &rest, 10);
  if (nr == SYS_restart_syscall) before.restarted = restarted_call(pid, tid, std::strtoull(rest, nullptr, 16));
  else if (nr != SYS_nanosleep && nr != SYS_clock_nanosleep && nr != SYS_poll && nr != SYS_futex) return before;
  before.asleep_ns = since_last_run(pid, tid);
  return before;
}

// The parent in vfork(2), posix_spawn(3) and the like, which sleeps until its child has a program of its own or ends.
bool is_in_vfork(pid_t pid, pid_t tid) {
  auto text = sys::read_proc(fmt::format("/proc/{}/task/{}/syscall", pid, tid));
  if (!text) return false;
  char* rest = nullptr;
  const long nr = std::strtol(text->c_str(), &rest, 10);
  uint64_t flags = std::strtoull(rest, nullptr, 16);
  if (nr == SYS_clone3 && !read_memory(pid, flags, &flags, sizeof flags)) return false;
  return nr == SYS_vfork || ((nr == SYS_clone || nr == SYS_clone3) && (flags & CLONE_VFORK));
}

// What is left of a call that is to be continued. The kernel writes it down itself for those that offer a place for it.
int64_t remaining_ns(pid_t pid, const arch::CallState& call, int64_t asleep) {
  timespec request{}, left{};
  const auto minus_asleep = [&](int64_t total) { return std::max<int64_t>(total - asleep, 0); };
  const auto sleep_call = [&](Vaddr req, Vaddr rem) -> int64_t {
    if (rem && read_memory(pid, rem, &left, sizeof left)) return nanoseconds(left);
    return read_memory(pid, req, &request, sizeof request) ? minus_asleep(nanoseconds(request)) : -1;
  };
  switch (call.nr) {
    case SYS_nanosleep: return sleep_call(call.args[0], call.args[1]);
    case SYS_clock_nanosleep: return sleep_call(call.args[2], call.args[3]);
    case SYS_poll: return minus_asleep(static_cast<int64_t>(static_cast<int>(call.args[2])) * 1'000'000);
    case SYS_futex: return read_memory(pid, call.args[3], &request, sizeof request) ? minus_asleep(nanoseconds(request)) : -1;
    default: return -1;
  }
}

// A signal that will run a handler as soon as the thread goes on.
bool signal_waits(pid_t pid, pid_t tid) {
  auto status = sys::read_proc(fmt::format("/proc/{}/task/{}/status", pid, tid));
  if (!status) return false;
  const auto mask = [&](const char* name) { return std::strtoull(sys::status_field(*status, name).c_str(), nullptr, 16); };
  return ((mask("SigPnd") | mask("ShdPnd")) & ~mask("SigBlk") & mask("SigCgt")) != 0;
}

// A thread that was stopped inside a restartable sequence has to begin it again: the kernel does so after a preemption
// (rseq(2), kernel/rseq.c), and a stop is none it could see once we have moved the thread elsewhere.
void leave_rseq(pid_t pid, arch::Registers& registers, pid_t tid) {
  __ptrace_rseq_configuration rseq{};
  if (::ptrace(PTRACE_GET_RSEQ_CONFIGURATION, tid, sizeof rseq, &rseq) != sizeof rseq || !rseq.rseq_abi_pointer) return;
  struct { uint32_t version, flags; uint64_t start_ip, post_commit_offset, abort_ip; } section{};
  uint64_t pointer = 0;
  if (!read_memory(pid, rseq.rseq_abi_pointer + 8, &pointer, sizeof pointer) || !pointer) return;
  if (!read_memory(pid, pointer, &section, sizeof section)) return;
  if (registers.general.rip - section.start_ip < section.post_commit_offset) registers.general.rip = section.abort_ip;
}

// A thread may have been stopped on its way back into a call that is continued, when nothing tells which call that is. It is let go and
// stopped again, until it sleeps there.
Result<void> find_restarted(pid_t pid, sys::Tracee& tracee, Before& before) {
  const auto deadline = Clock::now() + std::chrono::seconds(2);
  while (before.restarted < 0 && Clock::now() < deadline) {
    const user_regs_struct now = TRY(arch::read_general(tracee.tid()));
    std::array<std::byte, arch::kSyscallLength> code{};
    const bool about_to = static_cast<int64_t>(now.orig_rax) < 0 && now.rax == SYS_restart_syscall && read_memory(pid, now.rip, code.data(), code.size()) &&
                          std::ranges::equal(code, arch::syscall_instruction());
    if (now.orig_rax != SYS_restart_syscall && !about_to) break;
    TRY(tracee.resume());
    ::sched_yield();
    before = look_before(pid, tracee.tid());
    TRY(tracee.interrupt());
  }
  return {};
}

// Some calls fail with EINTR whenever their thread is stopped (signal(7)). If only our stop made it fail, the call becomes one that the
// kernel makes again unless a handler runs. At once, because we may die in the next moment, and the thread then goes on by itself.
Result<bool> keep_call(const sys::Tracee& tracee) {
  user_regs_struct general = TRY(arch::read_general(tracee.tid()));
  if (!arch::fails_when_stopped(general)) return false;
  arch::set_repeat(general);
  TRY(arch::write_general(tracee.tid(), general));
  return true;
}

Result<agent::StoppedThread> describe_thread(pid_t pid, sys::Tracee tracee, Before& before) {
  const pid_t tid = tracee.tid();
  if (!tracee.job_stop()) TRY(find_restarted(pid, tracee, before));
  agent::StoppedThread thread{std::move(tracee), TRY(arch::read_registers(tid)), {}, 0};
  leave_rseq(pid, thread.registers, tid);
  thread.blocked = TRY(thread.tracee.blocked_signals());
  // The handler of a signal that waits will run first, and the call then fails.
  if (before.repeated && signal_waits(pid, tid)) arch::set_result(thread.registers, -EINTR);
  else thread.call = arch::call_state(thread.registers.general, before.restarted);
  return thread;
}

// The threads of one process, on their way to stand still.
class Stopping {
 public:
  Stopping(pid_t pid, Clock::time_point deadline, const GoOn& go_on) : pid_(pid), deadline_(deadline), go_on_(go_on) {}

  // Until no new thread appears. A failure waits until the threads that were interrupted have stopped too: no call may fail by it.
  Result<void> stop_all() {
    for (bool fresh = true; fresh;) {
      TRY(go_on_());
      if (Clock::now() > deadline_) return error(ETIMEDOUT, "pid {} makes new threads faster than they can be stopped (--timeout)", pid_);
      const size_t first = tracees_.size();
      auto done = interrupt_new();
      fresh = tracees_.size() > first;
      for (size_t i = first; i < tracees_.size(); ++i) {
        auto settled = settle(tracees_[i], i == 0);
        if (!settled && done) done = std::move(settled);
      }
      std::erase_if(tracees_, [](const sys::Tracee& t) { return t.tid() == 0; });
      TRY(std::move(done));
    }
    return {};
  }

  Result<void> describe_into(FrozenTask& task) {
    for (sys::Tracee& tracee : tracees_) {
      Before& was = before_[tracee.tid()];
      task.threads.push_back(TRY(describe_thread(pid_, std::move(tracee), was)));
    }
    for (const agent::StoppedThread& thread : task.threads)
      task.remaining_ns.push_back(thread.call.call == arch::Call::kContinue ? remaining_ns(pid_, thread.call, before_[thread.tracee.tid()].asleep_ns) : -1);
    return {};
  }

 private:
  Result<void> interrupt_new() {
    for (pid_t tid : TRY(sys::threads_of(pid_))) {
      if (!seized_.insert(tid).second) continue;
      before_[tid] = look_before(pid_, tid);
      auto tracee = sys::Tracee::seize_and_interrupt(tid);
      if (!tracee && tracee.error().code == ESRCH && tid != pid_) continue;
      tracees_.push_back(TRY(std::move(tracee)));
    }
    return {};
  }

  Result<void> settle(sys::Tracee& tracee, bool leader) {
    const pid_t tid = tracee.tid();
    auto waited = wait_stopped(tracee);
    if (!waited && waited.error().code == ESRCH && !leader) return {};  // ended on its own
    TRY(std::move(waited));
    before_[tid].repeated = TRY(keep_call(tracee));
    return {};
  }

  // A thread that does not stop soon sleeps in the kernel until something happens that is not ours to bring about.
  Result<void> wait_stopped(sys::Tracee& tracee) {
    const auto begin = Clock::now();
    for (;;) {
      auto waited = tracee.wait_interrupted(std::min(deadline_, Clock::now() + kSoon));
      if (waited || waited.error().code != ETIMEDOUT || Clock::now() >= deadline_) return waited;
      TRY(go_on_());
      if (Clock::now() - begin > kVforkPatience && is_in_vfork(pid_, tracee.tid()))
        return error(ENOTSUP, "pid {}: thread {} waits in vfork(2) for its child to execute a program or to end; this cannot be checkpointed", pid_, tracee.tid());
    }
  }

  static constexpr std::chrono::milliseconds kSoon{20};
  static constexpr std::chrono::milliseconds kVforkPatience{500};  // a child that is about to execute a program has done so by then

  pid_t pid_;
  Clock::time_point deadline_;
  const GoOn& go_on_;
  std::set<pid_t> seized_;
  std::map<pid_t, Before> before_;
  std::vector<sys::Tracee> tracees_;
};

}  // namespace

Result<void> FrozenTree::add(pid_t pid, Clock::time_point deadline, const GoOn& go_on) {
  FrozenTask task;
  task.pid = pid;
  task.stat = TRY(sys::read_stat(pid));
  if (task.stat.ended()) {
    if (TRY(sys::threads_of(pid)).size() > 1) return error(ENOTSUP, "pid {}: its first thread has ended while others run; this is not supported", pid);
    tasks_.push_back(std::move(task));
    return {};
  }
  task.pidfd.reset(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!task.pidfd) return sys_error("pid {} cannot be opened", pid);
  Stopping threads(pid, deadline, go_on);
  TRY(threads.stop_all());
  TRY(threads.describe_into(task));
  task.stat = TRY(sys::read_stat(pid));
  tasks_.push_back(std::move(task));
  for (pid_t child : TRY(sys::children_of(pid))) {
    auto added = add(child, deadline, go_on);
    // A child may end before it is stopped; if it was not reaped it is found as a zombie below.
    if (!added && added.error().code == ESRCH) continue;
    TRY(std::move(added));
  }
  return {};
}

Result<FrozenTree> FrozenTree::freeze(pid_t root, std::chrono::milliseconds timeout, const GoOn& go_on) {
  if (::kill(root, 0) < 0 && errno == ESRCH) return error(ESRCH, "there is no process {}; ps tells which there are", root);
  FrozenTree tree;
  const auto deadline = Clock::now() + timeout;
  TRY(tree.add(root, deadline, go_on));
  if (tree.tasks_.front().zombie()) return error(ESRCH, "pid {} is a zombie: there is nothing left to checkpoint", root);
  // A process whose parent ended meanwhile was given to another one: look until the tree is whole.
  for (bool fresh = true; fresh;) {
    fresh = false;
    std::set<pid_t> known;
    for (const FrozenTask& task : tree.tasks_) known.insert(task.pid);
    for (size_t i = 0; i < tree.tasks_.size(); ++i) {
      if (tree.tasks_[i].zombie()) continue;
      for (pid_t child : TRY(sys::children_of(tree.tasks_[i].pid)))
        if (!known.contains(child)) TRY(tree.add(child, deadline, go_on)), fresh = true;
    }
    if (Clock::now() > deadline) return error(ETIMEDOUT, "the tree of pid {} keeps growing; it could not be stopped in time (--timeout)", root);
  }
  return tree;
}

Result<void> FrozenTree::release(Afterwards how) {
  Result<void> result;
  if (how == Afterwards::kKill)
    for (const FrozenTask& task : tasks_)
      if (!task.zombie()) ::syscall(SYS_pidfd_send_signal, task.pidfd.get(), SIGKILL, nullptr, 0);
  for (FrozenTask& task : tasks_) {
    if (how == Afterwards::kStop && !task.zombie()) ::syscall(SYS_pidfd_send_signal, task.pidfd.get(), SIGSTOP, nullptr, 0);
    // The leader (the first) last: its end is told only after the other threads, which we trace, have been waited for.
    for (agent::StoppedThread& thread : task.threads | std::views::reverse) {
      if (how == Afterwards::kKill) {
        // The end of a traced thread is told to us first, and only then to its parent.
        int status;
        while (::waitpid(thread.tracee.tid(), &status, __WALL) == thread.tracee.tid() && WIFSTOPPED(status)) {}
        thread.tracee.forget();
      } else if (auto done = thread.tracee.detach(); !done && done.error().code != ESRCH && result) {  // it may end as soon as others run
        result = std::move(done);
      }
    }
  }
  tasks_.clear();
  return result;
}

}  // namespace faultline::dump
