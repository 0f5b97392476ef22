// Small texts of a process: limits, cgroup, personality, oom_score_adj, loginuid; its signals and timers.
#include <csignal>
#include <cstring>

#include "browse/text/forms.h"
#include "browse/text/parts.h"

namespace faultline::browse {

namespace {

std::string limit_text(uint64_t value) { return value == UINT64_MAX ? "unlimited" : std::to_string(value); }

const char* cause_name(int code) {
  switch (code) {
    case SI_USER: return "SI_USER";
    case SI_KERNEL: return "SI_KERNEL";
    case SI_QUEUE: return "SI_QUEUE";
    case SI_TIMER: return "SI_TIMER";
    case SI_MESGQ: return "SI_MESGQ";
    case SI_ASYNCIO: return "SI_ASYNCIO";
    case SI_SIGIO: return "SI_SIGIO";
    case SI_TKILL: return "SI_TKILL";
    default: return nullptr;
  }
}

void add_action(std::string& out, uint64_t signal, const image::SaEntry& action) {
  constexpr struct { uint64_t bit; const char* name; } kFlags[] = {
      {SA_NOCLDSTOP, "SA_NOCLDSTOP"}, {SA_NOCLDWAIT, "SA_NOCLDWAIT"}, {SA_SIGINFO, "SA_SIGINFO"}, {0x04000000, "SA_RESTORER"}, {SA_ONSTACK, "SA_ONSTACK"},
      {SA_RESTART, "SA_RESTART"}, {SA_NODEFER, "SA_NODEFER"}, {uint64_t{SA_RESETHAND} & 0xffffffff, "SA_RESETHAND"}};
  if (action.sigaction == 0 && action.flags == 0 && action.mask == 0) return;
  add(out, "  {:<12} ", signal_name(signal));
  if (action.sigaction <= 1) out += action.sigaction ? "ignore" : "default";
  else add(out, "handler {:#x}", action.sigaction);
  uint64_t rest = action.flags;
  std::string flags;
  for (const auto& flag : kFlags)
    if (rest & flag.bit) {
      flags += (flags.empty() ? "" : "|") + std::string(flag.name);
      rest &= ~flag.bit;
    }
  if (rest) add(flags, "{}{:#x}", flags.empty() ? "" : "|", rest);
  if (!flags.empty()) add(out, " flags {}", flags);
  if (action.mask) add(out, " mask {}", signal_set(action.mask));
  out += '\n';
}

void add_interval_timer(std::string& out, const char* name, const image::ItimerEntry& timer) {
  const bool armed = timer.vsec || timer.vusec;
  add(out, "{}: ", name);
  if (armed) add(out, "expires in {}.{:06} s, interval {}.{:06} s\n", timer.vsec, timer.vusec, timer.isec, timer.iusec);
  else out += "not armed\n";
}

void add_posix_timer(std::string& out, const image::PosixTimerEntry& timer) {
  constexpr uint32_t kNone = 1, kThreadId = 4;
  add(out, "timer {}: {}, ", timer.it_id, clock_name(timer.clock_id));
  if (timer.vsec || timer.vnsec) add(out, "expires in {}.{:09} s, interval {}.{:09} s", timer.vsec, timer.vnsec, timer.isec, timer.insec);
  else out += "not armed";
  if (timer.it_sigev_notify == kNone) out += ", no notification";
  else add(out, ", sends {} with value {:#x}", signal_name(timer.si_signo), timer.sival_ptr);
  if (timer.it_sigev_notify == kThreadId) add(out, " to thread {}", timer.notify_thread_id.value_or(0));
  add(out, ", overrun {}\n", timer.overrun);
}

}  // namespace

void add_queue(std::string& out, const std::optional<image::SignalQueueEntry>& queue) {
  struct Head { int signal, error, code, pad, pid, uid; };  // how siginfo_t begins on 64 bits
  if (!queue || queue->signals.empty()) out += "  none\n";
  if (!queue) return;
  for (const image::SiginfoEntry& entry : queue->signals) {
    Head head = {};
    std::memcpy(&head, entry.siginfo.data(), std::min(sizeof head, entry.siginfo.size()));
    add(out, "  {:<12} ", signal_name(static_cast<uint64_t>(head.signal)));
    if (const char* name = cause_name(head.code)) out += name;
    else add(out, "code {}", head.code);
    if (head.code == SI_USER || head.code == SI_QUEUE || head.code == SI_TKILL || head.code == SI_MESGQ) add(out, " from pid {} uid {}", head.pid, head.uid);
    out += '\n';
  }
}

Result<std::string> limits_text(Snapshot& snapshot, const Process& process) {
  constexpr struct { const char* name; const char* unit; } kLimits[] = {
      {"Max cpu time", "seconds"}, {"Max file size", "bytes"}, {"Max data size", "bytes"}, {"Max stack size", "bytes"}, {"Max core file size", "bytes"},
      {"Max resident set", "bytes"}, {"Max processes", "processes"}, {"Max open files", "files"}, {"Max locked memory", "bytes"}, {"Max address space", "bytes"},
      {"Max file locks", "locks"}, {"Max pending signals", "signals"}, {"Max msgqueue size", "bytes"}, {"Max nice priority", nullptr},
      {"Max realtime priority", nullptr}, {"Max realtime timeout", "us"},
  };
  const ThreadState state = TRY(thread_state(snapshot, process, process.pid));
  std::string out = fmt::format("{:<25} {:<20} {:<20} {:<10}\n", "Limit", "Soft Limit", "Hard Limit", "Units");
  if (!state.task().rlimits) return out;
  size_t i = 0;
  for (const image::RlimitEntry& limit : state.task().rlimits->rlimits) {
    if (i == std::size(kLimits)) break;
    add(out, "{:<25} {:<20} {:<20} ", kLimits[i].name, limit_text(limit.cur), limit_text(limit.max));
    if (kLimits[i].unit) add(out, "{:<10}", kLimits[i].unit);
    out += '\n';
    ++i;
  }
  return out;
}

// Images do not tell the numbers of the hierarchies, so that they count from 1; version 2 has 0. Nothing is shown of a process that was in the cgroups of
// whoever made the checkpoint: these are not in the images.
Result<std::string> cgroup_text(Snapshot& snapshot, const Process& process) {
  const ThreadState state = TRY(thread_state(snapshot, process, process.pid));
  const uint32_t set = state.thread() && state.thread()->cg_set ? *state.thread()->cg_set : state.task().cg_set.value_or(0);
  const auto groups = TRY(snapshot.cached<std::vector<image::CgroupEntry>>("text/cgroup", 1 << 14, [&]() -> Snapshot::Shared<std::vector<image::CgroupEntry>> {
    return std::make_shared<const std::vector<image::CgroupEntry>>(TRY(snapshot.entries<image::CgroupEntry>("cgroup.img", image::kCgroup)));
  }));
  std::string out;
  for (const image::CgroupEntry& group : *groups)
    for (const image::CgSetEntry& known : group.sets) {
      if (known.id != set) continue;
      size_t number = 0;
      for (const image::CgMemberEntry& member : known.ctls) number += !member.name.empty();
      for (const image::CgMemberEntry& member : known.ctls)
        if (!member.name.empty()) add(out, "{}:{}:{}\n", number--, member.name, member.path);
      for (const image::CgMemberEntry& member : known.ctls)
        if (member.name.empty()) add(out, "0::{}\n", member.path);
    }
  return out;
}

Result<std::string> personality_text(Snapshot& snapshot, const Process& process) {
  return fmt::format("{:08x}\n", TRY(thread_state(snapshot, process, process.pid)).task().personality);
}

Result<std::string> oom_score_adj_text(Snapshot& snapshot, const Process& process) {
  return fmt::format("{}\n", TRY(thread_state(snapshot, process, process.pid)).task().oom_score_adj.value_or(0));
}

// As the kernel writes it: without a newline.
Result<std::string> loginuid_text(Snapshot& snapshot, const Process& process) {
  return fmt::format("{}", TRY(thread_state(snapshot, process, process.pid)).task().loginuid.value_or(UINT32_MAX));
}

Result<std::string> signals_text(Snapshot& snapshot, const Process& process) {
  constexpr uint64_t kKill = 9, kStop = 19;
  const ThreadState state = TRY(thread_state(snapshot, process, process.pid));
  const image::TaskCoreEntry& task = state.task();
  std::string out = "pending for the process:\n";
  add_queue(out, task.signals_s);
  for (const uint32_t tid : process.threads) {
    const auto core = if_readable(snapshot, snapshot.core(tid));
    if (!core || !(*core)->thread_core) continue;
    const image::ThreadCoreEntry& thread = *(*core)->thread_core;
    add(out, "thread {}: blocked: {}\n", tid, signal_set(tid == process.pid ? task.blk_sigset : thread.blk_sigset.value_or(0)));
    if (!thread.signals_p || thread.signals_p->signals.empty()) continue;
    add(out, "pending for thread {}:\n", tid);
    add_queue(out, thread.signals_p);
  }
  out += "actions (all others: default):\n";
  uint64_t signal = 1;
  for (const image::SaEntry& action : task.sigactions) {
    if (signal == kKill || signal == kStop) ++signal;
    add_action(out, signal++, action);
  }
  if (task.stop_signo) add(out, "stopped by {}\n", signal_name(*task.stop_signo));
  return out;
}

Result<std::string> timers_text(Snapshot& snapshot, const Process& process) {
  const ThreadState state = TRY(thread_state(snapshot, process, process.pid));
  std::string out;
  if (!state.task().timers) return out;
  const image::TaskTimersEntry& timers = *state.task().timers;
  add_interval_timer(out, "ITIMER_REAL", timers.real);
  add_interval_timer(out, "ITIMER_VIRTUAL", timers.virt);
  add_interval_timer(out, "ITIMER_PROF", timers.prof);
  for (const image::PosixTimerEntry& timer : timers.posix) add_posix_timer(out, timer);
  return out;
}

}  // namespace faultline::browse
