// Signals that wait to be delivered, with their siginfo: those for one thread, and those for the process as a whole.
// Read through ptrace, which leaves them in the queue. Put back by the thread itself, while it blocks all signals: only to itself may a
// thread send a siginfo that seems to come from the kernel or from kill(2) (do_rt_sigqueueinfo in kernel/signal.c).
//
// The signal of a POSIX timer comes back as a signal of its own, no longer tied to its timer: the expirations that the kernel would have
// added to its si_overrun at delivery are not known and not added.
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cstring>

#include "core/base/log.h"
#include "core/objects/task_kinds.h"

namespace faultline::objects {

namespace {

constexpr size_t kSiginfoSize = 128;
static_assert(sizeof(siginfo_t) == kSiginfoSize);
constexpr int kAtOnce = 32;

Result<image::SignalQueueEntry> peek(const ThreadView& thread, bool shared) {
  image::SignalQueueEntry queue;
  siginfo_t infos[kAtOnce];
  for (;;) {
    __ptrace_peeksiginfo_args args = {.off = queue.signals.size(), .flags = shared ? static_cast<uint32_t>(PTRACE_PEEKSIGINFO_SHARED) : 0, .nr = kAtOnce};
    const long got = ::ptrace(PTRACE_PEEKSIGINFO, thread.tid, &args, infos);
    if (got < 0) return sys_error("thread {} of pid {}: its pending signals cannot be read", thread.tid, thread.pid);
    for (const siginfo_t& info : std::span(infos, static_cast<size_t>(got))) {
      if (info.si_signo == SIGKILL) return error(ESRCH, "pid {} is being killed", thread.pid);
      // It is not stopped yet but will be as soon as it runs: neither state is what it is in.
      if (info.si_signo == SIGSTOP) return error(EAGAIN, "pid {} is just being stopped by SIGSTOP; dump it again", thread.pid);
      queue.signals.push_back({std::string(reinterpret_cast<const char*>(&info), kSiginfoSize)});
    }
    if (got < kAtOnce) return queue;
  }
}

// Calls send(number, siginfo) for each signal of the queue.
template <typename Send>
void for_each_signal(const std::optional<image::SignalQueueEntry>& queue, Send send) {
  if (!queue) return;
  for (const image::SiginfoEntry& entry : queue->signals) {
    siginfo_t info{};
    std::memcpy(&info, entry.siginfo.data(), std::min(entry.siginfo.size(), sizeof info));
    // These two cannot be blocked: they would act at once, on the half-built process. Stopped processes are stopped at the end, by who builds them.
    if (info.si_signo == SIGKILL || info.si_signo == SIGSTOP) LOG_WARNING("a pending signal {} is not put back", info.si_signo);
    else send(info.si_signo, info);
  }
}

class PrivateSignals : public ThreadState {
 public:
  void ask(agent::Program&) override {}

  Result<void> collect(const ThreadView& thread, const agent::Program&, image::CoreEntry& core) override {
    core.thread_core->signals_p = TRY(peek(thread, false));
    return {};
  }

  void rebuild(const image::CoreEntry& core, agent::Program& program) const override {
    const auto& queue = core.thread_core->signals_p;
    if (!queue || queue->signals.empty()) return;
    const auto pid = program.syscall("getpid", SYS_getpid, {});
    const auto tid = program.syscall("gettid", SYS_gettid, {});
    for_each_signal(queue, [&](int number, const siginfo_t& info) {
      program.syscall(fmt::format("put back pending signal {} of the thread", number), SYS_rt_tgsigqueueinfo, {pid, tid, number, program.value(info)});
    });
  }
};

class SharedSignals : public TaskState {
 public:
  void ask(const ThreadView&, agent::Program&) override {}

  Result<void> collect(const ThreadView& leader, const agent::Program&, image::Task& task) override {
    task.core.tc->signals_s = TRY(peek(leader, true));
    return {};
  }

  void rebuild(const image::Task& task, agent::Program& program) const override {
    const auto& queue = task.core.tc->signals_s;
    if (!queue || queue->signals.empty()) return;
    const auto pid = program.syscall("getpid", SYS_getpid, {});
    for_each_signal(queue, [&](int number, const siginfo_t& info) {
      program.syscall(fmt::format("put back pending signal {} of the process", number), SYS_rt_sigqueueinfo, {pid, number, program.value(info)});
    });
  }
};

}  // namespace

std::unique_ptr<ThreadState> make_private_signals() { return std::make_unique<PrivateSignals>(); }
std::unique_ptr<TaskState> make_shared_signals() { return std::make_unique<SharedSignals>(); }

}  // namespace faultline::objects
