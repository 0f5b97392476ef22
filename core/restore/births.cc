#include "core/restore/births.h"

#include <linux/futex.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <climits>

#include "arch/entry.h"
#include "core/sys/proc.h"

namespace faultline::restore {

namespace {

void futex_wake(std::atomic<uint32_t>& word) { ::syscall(SYS_futex, &word, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0); }
void futex_wait(std::atomic<uint32_t>& word, uint32_t value) { ::syscall(SYS_futex, &word, FUTEX_WAIT, value, nullptr, nullptr, 0); }

// The C library has told the kernel an address for restartable sequences; it is about to be unmapped.
void unregister_rseq() {
  constexpr int kUnregister = 1;
  constexpr unsigned kRegisteredSize = 32;
  if (__rseq_size == 0) return;
  auto* area = static_cast<char*>(__builtin_thread_pointer()) + __rseq_offset;
  ::syscall(SYS_rseq, area, kRegisteredSize, kUnregister, RSEQ_SIG);
}

}  // namespace

void report(Region& region, pid_t pid, int code, const char* what) {
  Trouble* trouble = region.trouble();
  uint32_t none = 0;
  // Only the first trouble counts: the others follow from it.
  if (trouble->set.compare_exchange_strong(none, 1)) {
    trouble->code = code;
    trouble->pid = pid;
    std::strncpy(trouble->what, what, sizeof trouble->what - 1);
    trouble->set = 2;
  }
  __atomic_fetch_add(&region.barrier()->failed, 1, __ATOMIC_SEQ_CST);
  for (uint32_t& word : region.barrier()->arrived) ::syscall(SYS_futex, &word, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

Result<void> Births::alive() const {
  for (size_t i = 0; i < plan_.births.size(); ++i) {
    const Birth& birth = plan_.births[i];
    if (birth.role != Role::kTask || !shared_->created[i]) continue;
    const auto stat = sys::read_stat(birth.pid);
    // A parent that ignores SIGCHLD leaves no zombie.
    if (!stat && stat.error().code == ESRCH) return error(ECHILD, "pid {} died while it was restored", birth.pid);
    if (!stat || !stat->ended()) continue;
    const int status = static_cast<int>(stat->exit_code);
    const bool signal = WIFSIGNALED(status);
    return error(ECHILD, "pid {} died while it was restored ({} {})", birth.pid, signal ? "signal" : "exit", signal ? WTERMSIG(status) : WEXITSTATUS(status));
  }
  return {};
}

void Births::become_root() {
  self_ = root_pid();
  live(0);
}

Result<pid_t> Births::begin(bool sibling) { return make(0, sibling ? CLONE_PARENT : 0, sibling ? 0 : SIGCHLD); }

Result<void> Births::prepare() {
  const Vaddr at = TRY(region_.take(sizeof(Shared) + plan_.births.size() * sizeof(std::atomic<uint32_t>)));
  shared_ = reinterpret_cast<Shared*>(at);
  return {};
}

Result<pid_t> Births::make(size_t index, uint64_t flags, uint64_t exit_signal) {
  pid_t pid = plan_.births[index].pid;
  clone_args args = {};
  args.flags = flags;
  args.exit_signal = exit_signal;
  args.set_tid = reinterpret_cast<uint64_t>(&pid);
  args.set_tid_size = 1;
  const pid_t parent = flags & CLONE_PARENT ? ::getppid() : ::getpid();
  const long got = ::syscall(SYS_clone3, &args, sizeof args);
  if (got == 0) {
    self_ = pid;
    // Should the restore be killed, so is everything that it has made: by this as long as we are on our own, by ptrace afterwards.
    ::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    if (::getppid() != parent) ::_exit(1);  // it was too late for that
    live(index);
  }
  if (got < 0) {
    if (errno == EEXIST) return error(EEXIST, "pid {} is taken by another process; restore into a new pid namespace with --new-pidns", pid);
    return sys_error("a process with pid {} cannot be made", pid);
  }
  shared_->created[index] = 1;
  return pid;
}

void Births::make_children(size_t index, bool before_setsid) {
  for (size_t i = 0; i < plan_.births.size(); ++i) {
    const Birth& birth = plan_.births[i];
    if (birth.creator != static_cast<int>(index) || birth.before_setsid != before_setsid) continue;
    const bool sibling = birth.parent != birth.creator;
    auto made = make(i, sibling ? CLONE_PARENT : 0, sibling ? 0 : SIGCHLD);
    if (!made) give_up(made.error().code, made.error().what.c_str());
  }
}

void Births::meet(unsigned stage) {
  if (++shared_->arrived[stage] == plan_.births.size()) {
    shared_->opened = stage + 1;
    futex_wake(shared_->opened);
  }
  for (uint32_t opened; (opened = shared_->opened) <= stage;) futex_wait(shared_->opened, opened);
}

void Births::live(size_t index) {
  const Birth& birth = plan_.births[index];
  shared_->created[index] = 1;
  unregister_rseq();
  make_children(index, true);
  if (birth.new_session && ::setsid() < 0) give_up(errno, "setsid");
  make_children(index, false);
  if (birth.pgid == birth.pid && ::setpgid(0, 0) < 0) give_up(errno, "a process group of its own");
  if (plan_.births.size() > 1) {
    meet(0);
    if (birth.pgid && birth.pgid != birth.pid && ::setpgid(0, birth.pgid) < 0) give_up(errno, "joining its process group");
    meet(1);
  }
  if (birth.role == Role::kHelper) ::_exit(0);
  if (birth.role == Role::kZombie) die_like(*birth.task);
  arch::enter_agent(region_.run(), programs_[index], region_.address(region_.barrier()), programs_[index] - 16);
}

void Births::die_like(const image::Task& zombie) {
  ::prctl(PR_SET_NAME, zombie.core.tc->comm.c_str(), 0, 0, 0);
  for (int signal = 1; signal < NSIG; ++signal) ::signal(signal, SIG_DFL);
  sigset_t none_blocked;
  sigemptyset(&none_blocked);
  ::sigprocmask(SIG_SETMASK, &none_blocked, nullptr);
  const int status = static_cast<int>(zombie.core.tc->exit_code);
  if (!WIFSIGNALED(status)) ::_exit(WEXITSTATUS(status));
  const rlimit none = {0, 0};
  ::setrlimit(RLIMIT_CORE, &none);
  ::kill(self_, WTERMSIG(status));
  for (;;) ::pause();
}

void Births::give_up(int code, const char* what) {
  report(region_, self_, code, what);
  for (;;) ::pause();
}

void Births::kill_all() const {
  if (!shared_) return;
  for (size_t i = 0; i < plan_.births.size(); ++i)
    if (shared_->created[i]) ::kill(plan_.births[i].pid, SIGKILL);
}

void Births::reap_all() const {
  if (!shared_) return;
  // Those whose parents died meanwhile have come to us, if we are their subreaper.
  for (size_t i = 0; i < plan_.births.size(); ++i)
    if (shared_->created[i]) while (::waitpid(plan_.births[i].pid, nullptr, __WALL) < 0 && errno == EINTR) {}
}

}  // namespace faultline::restore
