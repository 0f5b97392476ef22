#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/kcmp.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <string>

#include "arch/debug.h"
#include "core/base/unique_fd.h"
#include "core/cli/probes/child.h"
#include "core/cli/probes/probes.h"
#include "core/sys/capabilities.h"
#include "core/sys/kernel.h"

namespace faultline::cli::probe {

namespace {

Result<void> need(int capability, const char* name) {
  if (TRY(sys::effective_capabilities()).has(capability)) return {};
  return error(EPERM, "this process does not have {}", name);
}

Result<void> namespace_kind(const char* name) {
  const std::string path = std::string("/proc/self/ns/") + name;
  if (access(path.c_str(), F_OK) < 0) return sys_error("{}", path);
  return {};
}

Result<bool> has_line(const char* path, std::string_view start) {
  std::ifstream in(path);
  if (!in) return error(ENOENT, "cannot open {}", path);
  std::string line;
  while (std::getline(in, line))
    if (line.starts_with(start)) return true;
  return false;
}

// In the child: a filter that allows everything.
Result<void> install_filter() {
  sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
  sock_fprog program = {1, &allow};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) return sys_error("PR_SET_NO_NEW_PRIVS");
  if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0) return sys_error("installing a seccomp filter");
  return {};
}

// A place for a breakpoint, in the child.
void reached(int) {}

// Lets a traced child run on, with this signal, and waits until it stops for the signal `expected`.
Result<void> next_stop(pid_t pid, int deliver, int expected) {
  if (ptrace(PTRACE_CONT, pid, nullptr, static_cast<long>(deliver)) < 0) return sys_error("PTRACE_CONT");
  int status = 0;
  while (waitpid(pid, &status, __WALL) < 0)
    if (errno != EINTR) return sys_error("cannot wait for a traced child");
  if (!WIFSTOPPED(status) || WSTOPSIG(status) != expected) return error(ENOTSUP, "the child stopped with status {:#x} instead", status);
  return {};
}

// A pid that was in use a moment ago and is free now.
Result<pid_t> free_pid() {
  const pid_t pid = fork();
  if (pid < 0) return sys_error("fork(2)");
  if (pid == 0) _exit(0);
  while (waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {}
  return pid;
}

}  // namespace

Result<void> cap_sys_ptrace() { return need(sys::kCapSysPtrace, "CAP_SYS_PTRACE"); }
Result<void> cap_sys_admin() { return need(sys::kCapSysAdmin, "CAP_SYS_ADMIN"); }
Result<void> cap_sys_resource() { return need(sys::kCapSysResource, "CAP_SYS_RESOURCE"); }

Result<void> cap_checkpoint_restore() {
  const auto caps = TRY(sys::effective_capabilities());
  if (caps.has(sys::kCapCheckpointRestore) || caps.has(sys::kCapSysAdmin)) return {};
  return error(EPERM, "this process has neither CAP_CHECKPOINT_RESTORE nor CAP_SYS_ADMIN");
}

Result<void> ptrace_seize() {
  const Sleeper child = TRY(Sleeper::make());
  return child.seize();
}

Result<void> get_rseq_conf() {
  const Sleeper child = TRY(Sleeper::make());
  TRY(child.seize());
  __ptrace_rseq_configuration conf = {};
  if (ptrace(static_cast<__ptrace_request>(PTRACE_GET_RSEQ_CONFIGURATION), child.pid(), sizeof conf, &conf) < 0)
    return sys_error("PTRACE_GET_RSEQ_CONFIGURATION");
  return {};
}

Result<void> seccomp_suspend() {
  const Sleeper child = TRY(Sleeper::make());
  return child.seize(PTRACE_O_SUSPEND_SECCOMP);
}

Result<void> seccomp_filters() {
  const Sleeper child = TRY(Sleeper::make(install_filter));
  TRY(child.seize());
  const long count = ptrace(static_cast<__ptrace_request>(PTRACE_SECCOMP_GET_FILTER), child.pid(), 0, nullptr);
  if (count < 0) return sys_error("PTRACE_SECCOMP_GET_FILTER");
  if (count != 1) return error(EIO, "PTRACE_SECCOMP_GET_FILTER tells of {} instructions where there is 1", count);
  return {};
}

Result<void> clone3_set_tid() {
  // Another program may take the pid between the two steps; then it is tried with another.
  for (int attempt = 0; attempt < 8; ++attempt) {
    const pid_t wanted = TRY(free_pid());
    clone_args args = {};
    args.exit_signal = SIGCHLD;
    args.set_tid = reinterpret_cast<uint64_t>(&wanted);
    args.set_tid_size = 1;
    const long pid = syscall(SYS_clone3, &args, sizeof args);
    if (pid == 0) _exit(0);
    if (pid < 0 && errno == EEXIST) continue;
    if (pid < 0) return sys_error("clone3(2) with a pid given");
    while (waitpid(static_cast<pid_t>(pid), nullptr, 0) < 0 && errno == EINTR) {}
    if (pid != wanted) return error(EIO, "clone3(2) gave pid {} where {} was asked for", pid, wanted);
    return {};
  }
  return error(EAGAIN, "clone3(2) with a pid given: other programs took the pid each time; try again");
}

Result<void> pidfd_store() {
  UniqueFd source(eventfd(0, EFD_CLOEXEC));
  if (!source) return sys_error("eventfd(2)");
  const Sleeper child = TRY(Sleeper::make());
  UniqueFd pidfd(static_cast<int>(syscall(SYS_pidfd_open, child.pid(), 0)));
  if (!pidfd) return sys_error("pidfd_open(2)");
  UniqueFd copy(static_cast<int>(syscall(SYS_pidfd_getfd, pidfd.get(), source.get(), 0)));
  if (!copy) return sys_error("pidfd_getfd(2) from a child");
  return {};
}

Result<void> kcmp() {
  const Sleeper child = TRY(Sleeper::make());
  UniqueFd file(eventfd(0, EFD_CLOEXEC));
  UniqueFd copy(fcntl(file.get(), F_DUPFD_CLOEXEC, 0));
  if (!file || !copy) return sys_error("eventfd(2)");
  if (syscall(SYS_kcmp, getpid(), child.pid(), KCMP_FILES, 0, 0) < 0) return sys_error("kcmp(2) with a child");
  if (syscall(SYS_kcmp, getpid(), getpid(), KCMP_FILE, file.get(), copy.get()) != 0)
    return error(ENOTSUP, "kcmp(2) does not see that two descriptors are the same open file");
  return {};
}

Result<void> kcmp_epoll() {
  UniqueFd epoll(epoll_create1(EPOLL_CLOEXEC));
  UniqueFd target(eventfd(0, EFD_CLOEXEC));
  if (!epoll || !target) return sys_error("cannot make an epoll set");
  epoll_event event = {};
  if (epoll_ctl(epoll.get(), EPOLL_CTL_ADD, target.get(), &event) < 0) return sys_error("epoll_ctl(2)");
  kcmp_epoll_slot slot = {static_cast<__u32>(epoll.get()), static_cast<__u32>(target.get()), 0};
  if (syscall(SYS_kcmp, getpid(), getpid(), KCMP_EPOLL_TFD, target.get(), &slot) != 0) return sys_error("kcmp(2) with KCMP_EPOLL_TFD");
  return {};
}

Result<void> timer_cr_ids() {
  if (prctl(PR_TIMER_CREATE_RESTORE_IDS, PR_TIMER_CREATE_RESTORE_IDS_GET, 0, 0, 0) < 0) return sys_error("prctl(PR_TIMER_CREATE_RESTORE_IDS)");
  return {};
}

Result<void> loginuid() {
  return in_child(0, []() -> Result<void> {
    UniqueFd fd(::open("/proc/self/loginuid", O_RDWR | O_CLOEXEC));
    if (!fd) return sys_error("cannot open /proc/self/loginuid");
    char text[32];
    const ssize_t size = ::pread(fd.get(), text, sizeof text, 0);
    if (size <= 0) return sys_error("cannot read /proc/self/loginuid");
    if (::pwrite(fd.get(), text, static_cast<size_t>(size), 0) != size) return sys_error("cannot write /proc/self/loginuid");
    return {};
  });
}

Result<void> userns() {
  TRY(namespace_kind("user"));
  return in_child(CLONE_NEWUSER, [] { return Result<void>(); });
}

Result<void> cgroupns() { return namespace_kind("cgroup"); }
Result<void> timens() { return namespace_kind("time_for_children"); }

Result<void> ns_pid() {
  if (TRY(has_line("/proc/self/status", "NSpid:"))) return {};
  return error(ENOTSUP, "/proc/PID/status has no line NSpid");
}

Result<void> can_map_vdso() { return arch::probe_map_vdso(); }

Result<void> breakpoints() {
  const Sleeper child = TRY(Sleeper::make([]() -> Result<void> {
    struct sigaction action = {};
    action.sa_handler = reached;
    // The second signal must not come before the handler's first instruction, or it would hide the breakpoint.
    sigfillset(&action.sa_mask);
    if (sigaction(SIGUSR1, &action, nullptr) < 0) return sys_error("sigaction(2)");
    return {};
  }));
  TRY(child.seize());
  TRY(arch::set_hardware_breakpoint(child.pid(), reinterpret_cast<uint64_t>(&reached)));
  if (kill(child.pid(), SIGUSR1) < 0) return sys_error("kill(2)");
  // The child stops for the signal, and then either before the handler or, if the breakpoint is not seen, for the second signal after it.
  TRY(next_stop(child.pid(), 0, SIGUSR1));
  if (kill(child.pid(), SIGUSR2) < 0) return sys_error("kill(2)");
  auto stopped = next_stop(child.pid(), SIGUSR1, SIGTRAP);
  if (!stopped) return wrap(stopped.error(), "a hardware breakpoint was set and not reached");
  return {};
}

Result<void> apparmor_stacking() {
  const char* path = "/sys/kernel/security/apparmor/features/domain/stack";
  if (TRY(has_line(path, "yes"))) return {};
  return error(ENOTSUP, "{} does not say yes", path);
}

Result<void> not_in_this_version() { return error(ENOSYS, "Faultline cannot do this yet, whatever the kernel gives"); }

}  // namespace faultline::cli::probe
