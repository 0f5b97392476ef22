// What a process is asked for is what was set, and what is rebuilt from that in another process is asked for again with the same answers.
#include "core/objects/task_state.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/membarrier.h>
#include <linux/securebits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/fsuid.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstring>
#include <functional>

#include "core/agent/remote.h"

using namespace faultline;

namespace {

// A child process that gets itself into some state, says so, and waits. Ends with its owner.
class Child {
 public:
  // `set_up` runs in the child; it gives an errno value, or 0.
  explicit Child(const std::function<int()>& set_up) {
    int ready[2];
    REQUIRE(::pipe2(ready, O_CLOEXEC) == 0);
    pid_ = ::fork();
    if (pid_ == 0) {
      const int code = set_up();
      static_cast<void>(!::write(ready[1], &code, sizeof code));
      for (;;) ::pause();
    }
    ::close(ready[1]);
    int code = -1;
    REQUIRE(::read(ready[0], &code, sizeof code) == sizeof code);
    ::close(ready[0]);
    INFO("set-up in the child: " << errno_text(code));
    REQUIRE(code == 0);
  }
  Child(const Child&) = delete;
  ~Child() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  pid_t pid() const { return pid_; }

 private:
  pid_t pid_;
};

agent::StoppedThread stopped(pid_t tid) {
  auto tracee = sys::Tracee::stop(tid);
  REQUIRE(tracee);
  auto registers = arch::read_registers(tid);
  REQUIRE(registers);
  const auto mask = tracee->blocked_signals();
  REQUIRE(mask);
  const arch::CallState call = arch::call_state(registers->general, -1);
  return {std::move(*tracee), std::move(*registers), call, *mask};
}

void require(const Result<void>& result) {
  INFO((result ? "" : result.error().what));
  REQUIRE(result);
}

// The dump side, as a dump does it.
image::Task collect(pid_t pid) {
  image::Task task;
  task.tree.pid = static_cast<uint32_t>(pid);
  task.tree.threads = {task.tree.pid};
  task.core.mtype = image::March::X86_64;
  task.core.tc.emplace();
  task.core.thread_core.emplace();
  task.mm.emplace();
  const objects::ThreadView view{pid, pid};
  std::vector<agent::StoppedThread> threads;
  threads.push_back(stopped(pid));
  std::vector<agent::Program> programs(1);
  const auto task_states = objects::task_states();
  const auto thread_states = objects::thread_states();
  for (const auto& state : task_states) state->ask(view, programs[0]);
  for (const auto& state : thread_states) state->ask(programs[0]);
  require(agent::run_in_threads(pid, threads, programs));
  for (const auto& state : task_states) require(state->collect(view, programs[0], task));
  for (const auto& state : thread_states) require(state->collect(view, programs[0], task.core));
  return task;
}

// The restore side: the calling process, which has all signals blocked and nothing of its own, gets the state. Returns an errno value.
int rebuild(const image::Task& task) {
  sigset_t all;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, nullptr);
  // The registration that came with fork(2).
  auto* area = static_cast<char*>(__builtin_thread_pointer()) + __rseq_offset;
  if (__rseq_size) ::syscall(SYS_rseq, area, 32, RSEQ_FLAG_UNREGISTER, RSEQ_SIG);

  agent::Program program;
  const auto task_states = objects::task_states();
  for (const auto& state : task_states) state->before_threads(task, program);
  for (const auto& state : task_states) state->rebuild(task, program);
  for (const auto& state : objects::thread_states()) state->rebuild(task.core, program);
  for (const auto& state : task_states) state->finish(task, program);

  const agent::Blob blob = agent::blob();
  auto code = Mapping::map(page_up(blob.code.size()), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0, "code");
  auto data = Mapping::map(page_up(program.size()), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0, "program");
  if (!code || !data) return ENOMEM;
  std::memcpy(code->data(), blob.code.data(), blob.code.size());
  if (::mprotect(code->data(), code->size(), PROT_READ | PROT_EXEC) != 0) return errno;
  program.load(reinterpret_cast<Vaddr>(data->data()), data->bytes());
  using Run = void (*)(agent::ProgramHeader*, agent::Barrier*);
  reinterpret_cast<Run>(code->data() + blob.run_offset)(reinterpret_cast<agent::ProgramHeader*>(data->data()), nullptr);
  const auto done = program.take_results(data->bytes());
  if (done) return 0;
  std::fprintf(stderr, "rebuild: %s\n", done.error().what.c_str());
  return done.error().code;
}

// Everything but the mask, which is not set by rebuild(), and the time that timers have left.
std::string comparable(image::Task task) {
  task.core.tc->blk_sigset = 0;
  if (task.core.tc->timers) {
    task.core.tc->timers->real.vsec = task.core.tc->timers->real.vusec = 0;
    task.core.tc->timers->virt.vsec = task.core.tc->timers->virt.vusec = 0;
    task.core.tc->timers->prof.vsec = task.core.tc->timers->prof.vusec = 0;
    for (auto& timer : task.core.tc->timers->posix) timer.vsec = timer.vnsec = 0;
  }
  std::string bytes;
  image::append(task.core, bytes);
  image::append(*task.mm, bytes);
  return bytes;
}

image::Task rebuilt(const image::Task& task) {
  const Child second([&task] { return rebuild(task); });
  return collect(second.pid());
}

void check_round_trip(const image::Task& task) { CHECK(comparable(rebuilt(task)) == comparable(task)); }

int failed(long result) { return result < 0 ? errno : 0; }
#define OR_ERRNO(call) \
  if (const int code = failed(call)) return code

int block_all() {
  sigset_t all;
  ::sigfillset(&all);
  return failed(::sigprocmask(SIG_SETMASK, &all, nullptr));
}

}  // namespace

TEST_CASE("a process with nothing special comes back as it was") {
  const Child child([] {
    const stack_t none = {.ss_sp = nullptr, .ss_flags = SS_DISABLE, .ss_size = 0};  // instead of the test framework's
    return failed(::sigaltstack(&none, nullptr));
  });
  const image::Task task = collect(child.pid());
  CHECK(task.core.tc->sigactions.size() == 62);
  CHECK(task.core.tc->rlimits->rlimits.size() == 16);
  CHECK(task.core.tc->child_subreaper == false);
  CHECK(task.mm->dumpable == 1);
  CHECK(task.core.thread_core->sas->ss_flags == SS_DISABLE);
  CHECK(task.core.thread_core->futex_rla != 0);
  CHECK(task.core.thread_core->futex_rla_len == 24);
  CHECK(task.core.thread_info->clear_tid_addr != 0);
  if (__rseq_size) {
    REQUIRE(task.core.thread_core->rseq_entry);
    CHECK(task.core.thread_core->rseq_entry->rseq_abi_pointer == reinterpret_cast<uint64_t>(__builtin_thread_pointer()) + static_cast<uint64_t>(__rseq_offset));
    CHECK(task.core.thread_core->rseq_entry->signature == RSEQ_SIG);
  }
  check_round_trip(task);
}

TEST_CASE("prctl flags, name, personality, alternate stack, scheduling") {
  static char stack[64 << 10];
  const Child child([] {
    OR_ERRNO(::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0));
    OR_ERRNO(::prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0));
    OR_ERRNO(::prctl(PR_SET_PDEATHSIG, SIGUSR2, 0, 0, 0));
    OR_ERRNO(::prctl(PR_SET_NAME, "a)\n name", 0, 0, 0));
    OR_ERRNO(::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0));
    OR_ERRNO(::personality(ADDR_NO_RANDOMIZE));
    const stack_t alternate = {.ss_sp = stack, .ss_flags = static_cast<int>(1u << 31), .ss_size = sizeof stack};  // SS_AUTODISARM
    OR_ERRNO(::syscall(SYS_sigaltstack, &alternate, nullptr));
    OR_ERRNO(::syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0));
    OR_ERRNO(::setpriority(PRIO_PROCESS, 0, 7));
    const sched_param param = {0};
    OR_ERRNO(::sched_setscheduler(0, SCHED_BATCH | SCHED_RESET_ON_FORK, &param));
    return 0;
  });
  const image::Task task = collect(child.pid());
  CHECK(task.core.tc->child_subreaper == true);
  CHECK(task.mm->thp_disabled == true);
  CHECK(task.mm->dumpable == 0);
  CHECK(task.core.tc->personality == ADDR_NO_RANDOMIZE);
  CHECK(task.core.tc->comm == "a)\n name");
  CHECK(task.core.tc->membarrier_registration_mask == MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED);
  const image::ThreadCoreEntry& t = *task.core.thread_core;
  CHECK(t.comm == "a)\n name");
  CHECK(t.pdeath_sig == SIGUSR2);
  CHECK(t.sas->ss_sp == reinterpret_cast<uint64_t>(stack));
  CHECK(t.sas->ss_size == sizeof stack);
  CHECK(t.sas->ss_flags == 1u << 31);
  CHECK(t.sched_nice == 7);
  CHECK(t.sched_policy == (SCHED_BATCH | SCHED_RESET_ON_FORK));
  check_round_trip(task);
}

TEST_CASE("a personality as CRIU 4.2 writes it is understood") {
  const Child child([] { return 0; });
  image::Task task = collect(child.pid());
  task.core.tc->personality = 40000;  // of the hexadecimal text 00040000
  CHECK(rebuilt(task).core.tc->personality == ADDR_NO_RANDOMIZE);
}

TEST_CASE("real-time scheduling") {
  const auto set = [] {
    const sched_param param = {13};
    return failed(::sched_setscheduler(0, SCHED_RR, &param));
  };
  pid_t probe = ::fork();
  if (probe == 0) ::_exit(set());
  int status = 0;
  ::waitpid(probe, &status, 0);
  if (status != 0) {
    WARN("skipped: real-time scheduling is not allowed here: " << errno_text(WEXITSTATUS(status)));
    return;
  }
  const Child child(set);
  const image::Task task = collect(child.pid());
  CHECK(task.core.thread_core->sched_policy == SCHED_RR);
  CHECK(task.core.thread_core->sched_prio == 13u);
  check_round_trip(task);
}

TEST_CASE("signal actions, and pending signals of thread and process with their siginfo") {
  const Child child([] {
    if (const int code = block_all()) return code;
    struct sigaction action = {};
    action.sa_sigaction = [](int, siginfo_t*, void*) {};
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    ::sigaddset(&action.sa_mask, SIGHUP);
    OR_ERRNO(::sigaction(SIGUSR1, &action, nullptr));
    action.sa_handler = SIG_IGN;
    OR_ERRNO(::sigaction(SIGPIPE, &action, nullptr));
    for (int i = 0; i < 40; ++i) OR_ERRNO(::sigqueue(::getpid(), SIGRTMIN + 3, {.sival_int = i}));
    OR_ERRNO(::kill(::getpid(), SIGUSR1));
    OR_ERRNO(::kill(::getpid(), SIGPIPE));  // pending although ignored: it was blocked when it came
    OR_ERRNO(::syscall(SYS_tgkill, ::getpid(), ::getpid(), SIGTERM));
    siginfo_t info = {};
    info.si_signo = SIGSEGV, info.si_code = SEGV_ACCERR, info.si_addr = reinterpret_cast<void*>(0x1234);
    OR_ERRNO(::syscall(SYS_rt_tgsigqueueinfo, ::getpid(), ::getpid(), SIGSEGV, &info));
    return 0;
  });
  const image::Task task = collect(child.pid());
  CHECK(task.core.tc->blk_sigset == 0xfffffffe7ffbfeff);  // without SIGKILL, SIGSTOP and the two signals that glibc keeps for itself
  const image::SaEntry& action = task.core.tc->sigactions[SIGUSR1 - 2];  // 9 is left out
  CHECK((action.flags & (SA_SIGINFO | SA_NODEFER)) == (SA_SIGINFO | SA_NODEFER));
  CHECK(action.mask == 1);
  CHECK(task.core.tc->sigactions[SIGPIPE - 2].sigaction == 1);
  const auto& shared = task.core.tc->signals_s->signals;
  REQUIRE(shared.size() == 42);
  siginfo_t info;
  std::memcpy(&info, shared[39].siginfo.data(), sizeof info);
  CHECK(info.si_code == SI_QUEUE);
  CHECK(info.si_value.sival_int == 39);
  const auto& own = task.core.thread_core->signals_p->signals;
  REQUIRE(own.size() == 2);
  std::memcpy(&info, own[1].siginfo.data(), sizeof info);
  CHECK(info.si_code == SEGV_ACCERR);
  CHECK(info.si_addr == reinterpret_cast<void*>(0x1234));
  check_round_trip(task);
}

TEST_CASE("interval and POSIX timers go on with the time that was left") {
  const Child child([] {
    if (const int code = block_all()) return code;
    const itimerval real = {{100, 250000}, {7200, 0}}, prof = {{0, 0}, {3600, 0}};
    OR_ERRNO(::setitimer(ITIMER_REAL, &real, nullptr));
    OR_ERRNO(::setitimer(ITIMER_PROF, &prof, nullptr));
    const auto create = [](clockid_t clock, sigevent event, itimerspec value) {
      int id = 0;
      OR_ERRNO(::syscall(SYS_timer_create, clock, &event, &id));
      return failed(::syscall(SYS_timer_settime, id, 0, &value, nullptr));
    };
    sigevent event = {};
    event.sigev_notify = SIGEV_SIGNAL, event.sigev_signo = SIGUSR2, event.sigev_value.sival_ptr = reinterpret_cast<void*>(0x1122334455667788);
    if (const int code = create(CLOCK_MONOTONIC, event, {{5, 7}, {3600, 0}})) return code;
    OR_ERRNO(::syscall(SYS_timer_delete, 0));  // leaves a gap in the ids
    if (const int code = create(CLOCK_MONOTONIC, event, {{5, 7}, {3600, 0}})) return code;
    event.sigev_notify = SIGEV_NONE;
    if (const int code = create(CLOCK_REALTIME, event, {{0, 0}, {1800, 0}})) return code;
    event.sigev_notify = SIGEV_THREAD_ID;
    event._sigev_un._tid = ::getpid();
    if (const int code = create(CLOCK_PROCESS_CPUTIME_ID, event, {{0, 0}, {900, 0}})) return code;
    return create(CLOCK_BOOTTIME, event, {{0, 0}, {0, 0}});  // not started
  });
  image::Task task = collect(child.pid());
  REQUIRE(task.core.tc->timers);
  const image::TaskTimersEntry timers = *task.core.tc->timers;
  CHECK(timers.real.isec == 100);
  CHECK(timers.real.iusec == 250000);
  CHECK(timers.real.vsec < 7200);  // it runs
  CHECK(timers.real.vsec > 7100);
  CHECK(timers.prof.vsec >= 3590);
  REQUIRE(timers.posix.size() == 4);
  CHECK(timers.posix[0].it_id == 1);
  CHECK(timers.posix[0].clock_id == CLOCK_MONOTONIC);
  CHECK(timers.posix[0].si_signo == SIGUSR2);
  CHECK(timers.posix[0].sival_ptr == 0x1122334455667788);
  CHECK(timers.posix[0].isec == 5);
  CHECK(timers.posix[0].insec == 7);
  CHECK(timers.posix[0].vsec < 3600);
  CHECK(timers.posix[0].vsec > 3500);
  CHECK(timers.posix[1].it_sigev_notify == SIGEV_NONE);
  CHECK(timers.posix[2].it_sigev_notify == SIGEV_THREAD_ID);
  CHECK(timers.posix[2].notify_thread_id == child.pid());
  CHECK(timers.posix[3].vsec + timers.posix[3].vnsec == 0);

  // The other process is another thread.
  std::optional<image::Task> again;
  {
    const Child second([&task] {
      for (auto& timer : task.core.tc->timers->posix)
        if (timer.notify_thread_id) timer.notify_thread_id = ::getpid();
      return rebuild(task);
    });
    again = collect(second.pid());
    for (auto& timer : again->core.tc->timers->posix)
      if (timer.notify_thread_id == second.pid()) timer.notify_thread_id = child.pid();
  }
  CHECK(comparable(*again) == comparable(task));
  // Not early: less may be left than when it was collected, by what building took, but not much, and never more.
  const image::TaskTimersEntry& later = *again->core.tc->timers;
  const auto nanoseconds = [](const image::PosixTimerEntry& t) { return t.vsec * 1000000000 + t.vnsec; };
  for (size_t i = 0; i < 3; ++i) {
    CHECK(nanoseconds(later.posix[i]) <= nanoseconds(timers.posix[i]));
    CHECK(nanoseconds(later.posix[i]) + 60000000000 > nanoseconds(timers.posix[i]));
  }
  CHECK(later.real.vsec * 1000000 + later.real.vusec <= timers.real.vsec * 1000000 + timers.real.vusec);
  CHECK(later.real.vsec + 60 > timers.real.vsec);
}

TEST_CASE("limits and oom_score_adj") {
  const Child child([] {
    const rlimit core = {4096, 8192}, files = {200, 300};
    OR_ERRNO(::setrlimit(RLIMIT_CORE, &core));
    OR_ERRNO(::setrlimit(RLIMIT_NOFILE, &files));
    const int fd = ::open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    OR_ERRNO(fd);
    OR_ERRNO(::write(fd, "321", 3));
    ::close(fd);
    return 0;
  });
  const image::Task task = collect(child.pid());
  CHECK(task.core.tc->rlimits->rlimits[RLIMIT_CORE].cur == 4096);
  CHECK(task.core.tc->rlimits->rlimits[RLIMIT_NOFILE].max == 300);
  CHECK(task.core.tc->oom_score_adj == 321);
  check_round_trip(task);
}

TEST_CASE("credentials: ids, groups, capabilities, securebits, no_new_privs") {
  if (::geteuid() != 0) {
    WARN("skipped: only root can become somebody else");
    return;
  }
  constexpr uint64_t kKept = 1u << CAP_NET_RAW | 1u << CAP_NET_BIND_SERVICE;
  const Child child([] {
    const gid_t groups[] = {7, 1001, 70000};
    OR_ERRNO(::setgroups(3, groups));
    OR_ERRNO(::prctl(PR_CAPBSET_DROP, CAP_SYS_TIME, 0, 0, 0));
    OR_ERRNO(::prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0));
    OR_ERRNO(::syscall(SYS_setresgid, 1000, 1001, 1002));
    OR_ERRNO(::syscall(SYS_setfsgid, 1003));
    OR_ERRNO(::syscall(SYS_setresuid, 2000, 2001, 2002));
    OR_ERRNO(::syscall(SYS_setfsuid, 2003));
    __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    const auto low = static_cast<uint32_t>(kKept);
    __user_cap_data_struct data[2] = {{low | 1u << CAP_SETPCAP, low | 1u << CAP_SETPCAP, low}, {0, 0, 0}};
    OR_ERRNO(::syscall(SYS_capset, &header, data));
    OR_ERRNO(::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_RAW, 0, 0));
    OR_ERRNO(::prctl(PR_SET_SECUREBITS, SECBIT_NOROOT | SECBIT_NO_CAP_AMBIENT_RAISE, 0, 0, 0));
    data[0] = {1u << CAP_NET_RAW, low, low};
    OR_ERRNO(::syscall(SYS_capset, &header, data));
    OR_ERRNO(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    OR_ERRNO(::prctl(PR_SET_PDEATHSIG, SIGUSR1, 0, 0, 0));
    OR_ERRNO(::prctl(PR_SET_DUMPABLE, 1, 0, 0, 0));
    return 0;
  });
  const image::Task task = collect(child.pid());
  REQUIRE(task.core.thread_core->creds);
  const image::CredsEntry& c = *task.core.thread_core->creds;
  CHECK(std::vector{c.uid, c.euid, c.suid, c.fsuid} == std::vector<uint32_t>{2000, 2001, 2002, 2003});
  CHECK(std::vector{c.gid, c.egid, c.sgid, c.fsgid} == std::vector<uint32_t>{1000, 1001, 1002, 1003});
  CHECK(c.groups == std::vector<uint32_t>{7, 1001, 70000});
  CHECK(c.cap_prm == std::vector<uint32_t>{kKept, 0});
  CHECK(c.cap_eff == std::vector<uint32_t>{1u << CAP_NET_RAW, 0});
  CHECK(c.cap_inh == std::vector<uint32_t>{kKept, 0});
  CHECK(c.cap_amb == std::vector<uint32_t>{1u << CAP_NET_RAW, 0});
  REQUIRE(c.cap_bnd.size() == 2);
  CHECK((c.cap_bnd[0] & 1u << CAP_SYS_TIME) == 0);
  CHECK(c.secbits == (SECBIT_NOROOT | SECBIT_NO_CAP_AMBIENT_RAISE));
  CHECK(c.no_new_privs == 1u);
  CHECK(task.core.thread_core->pdeath_sig == SIGUSR1);
  CHECK(task.mm->dumpable == 1);
  check_round_trip(task);
}

TEST_CASE("a capability that the restoring process lacks fails the rebuild") {
  const Child child([] { return 0; });
  image::Task task = collect(child.pid());
  task.core.thread_core->creds->cap_prm = {0xffffffff, 0xffffffff};
  const Child second([&task] { return rebuild(task) == EPERM ? 0 : EINVAL; });
}
