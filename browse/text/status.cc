// status and stat of processes and threads, as the kernel writes them (fs/proc/array.c).
#include <linux/sched.h>

#include <bit>

#include "browse/text/forms.h"
#include "browse/text/parts.h"

namespace faultline::browse {

namespace {

constexpr size_t kLimitRss = 5, kLimitPending = 11;
// Descriptors for which a new process has room, and in which steps the room grows (fs/file.c).
constexpr uint64_t kFirstDescriptors = 64, kStepDescriptors = 128;

char state_letter(const ThreadState& state) {
  if (state.dead()) return 'Z';
  return state.task().task_state == image::kTaskStopped ? 'T' : 'R';
}

const char* state_name(const ThreadState& state) {
  if (state.dead()) return "Z (zombie)";
  return state.task().task_state == image::kTaskStopped ? "T (stopped)" : "R (running)";
}

struct Actions {
  uint64_t ignored = 0, caught = 0;
};

// Images hold the actions of all signals but SIGKILL and SIGSTOP.
Actions actions_of(const image::TaskCoreEntry& task) {
  constexpr uint64_t kKill = 9, kStop = 19, kIgnore = 1;
  Actions actions;
  uint64_t signal = 1;
  for (const image::SaEntry& action : task.sigactions) {
    if (signal == kKill || signal == kStop) ++signal;
    if (signal > 64) break;
    if (action.sigaction == kIgnore) actions.ignored |= uint64_t{1} << (signal - 1);
    else if (action.sigaction) actions.caught |= uint64_t{1} << (signal - 1);
    ++signal;
  }
  return actions;
}

uint64_t limit_of(const image::TaskCoreEntry& task, size_t which) {
  return task.rlimits && which < task.rlimits->rlimits.size() ? task.rlimits->rlimits[which].cur : UINT64_MAX;
}

uint64_t descriptor_room(Snapshot& snapshot, const Process& process) {
  const auto fds = if_readable(snapshot, snapshot.fds(process.pid));
  const uint64_t highest = fds && !(*fds)->empty() ? (*fds)->back().fd : 0;
  return highest < kFirstDescriptors ? kFirstDescriptors : kStepDescriptors * std::bit_ceil(highest / kStepDescriptors + 1);
}

void add_credentials(std::string& out, const image::CredsEntry* creds) {
  static const image::CredsEntry kNone;
  const image::CredsEntry& c = creds ? *creds : kNone;
  add(out, "Uid:\t{}\t{}\t{}\t{}\nGid:\t{}\t{}\t{}\t{}\n", c.uid, c.euid, c.suid, c.fsuid, c.gid, c.egid, c.sgid, c.fsgid);
}

void add_groups(std::string& out, const image::CredsEntry* creds) {
  out += "Groups:\t";
  if (creds)
    for (size_t i = 0; i < creds->groups.size(); ++i) add(out, "{}{}", i ? " " : "", creds->groups[i]);
  out += " \n";
}

void add_memory(std::string& out, const Usage& usage) {
  const struct { const char* name; uint64_t bytes; } kLines[] = {
      {"VmPeak", usage.size}, {"VmSize", usage.size}, {"VmLck", usage.locked}, {"VmPin", 0}, {"VmHWM", usage.resident()}, {"VmRSS", usage.resident()},
      {"RssAnon", usage.stored}, {"RssFile", 0}, {"RssShmem", usage.shared}, {"VmData", usage.data}, {"VmStk", usage.stack}, {"VmExe", usage.text},
      {"VmLib", usage.libraries}, {"VmPTE", 0}, {"VmSwap", 0}, {"HugetlbPages", 0},
  };
  for (const auto& line : kLines) add(out, "{}:\t{:>8} kB\n", line.name, line.bytes >> 10);
}

void add_signals(std::string& out, const ThreadState& state) {
  const image::TaskCoreEntry& task = state.task();
  const uint64_t own = state.thread() ? pending_set(state.thread()->signals_p) : 0;
  const size_t queued = (task.signals_s ? task.signals_s->signals.size() : 0) + (state.thread() && state.thread()->signals_p ? state.thread()->signals_p->signals.size() : 0);
  const Actions actions = actions_of(task);
  add(out, "SigQ:\t{}/{}\nSigPnd:\t{:016x}\nShdPnd:\t{:016x}\nSigBlk:\t{:016x}\nSigIgn:\t{:016x}\nSigCgt:\t{:016x}\n", queued, limit_of(task, kLimitPending), own,
      pending_set(task.signals_s), state.blocked(), actions.ignored, actions.caught);
}

void add_capabilities(std::string& out, const image::CredsEntry* creds) {
  static const image::CredsEntry kNone;
  const image::CredsEntry& c = creds ? *creds : kNone;
  add(out, "CapInh:\t{:016x}\nCapPrm:\t{:016x}\nCapEff:\t{:016x}\nCapBnd:\t{:016x}\nCapAmb:\t{:016x}\nNoNewPrivs:\t{}\n", from_words(c.cap_inh), from_words(c.cap_prm),
      from_words(c.cap_eff), from_words(c.cap_bnd), from_words(c.cap_amb), c.no_new_privs.value_or(0));
}

// Threads whose filters came from the leader (TSYNC) say nothing of their own.
int seccomp_of(const ThreadState& state) {
  const auto mode_of = [](const image::CoreEntry& core) { return core.thread_core ? core.thread_core->seccomp_mode : std::nullopt; };
  if (const auto own = mode_of(*state.core)) return static_cast<int>(*own);
  const auto leader = mode_of(*state.leader);
  if (leader && *leader == image::SeccompMode::filter) return static_cast<int>(*leader);
  return static_cast<int>(state.task().old_seccomp_mode.value_or(image::SeccompMode::disabled));
}

struct Schedule {
  int64_t priority, nice;
  uint32_t realtime, policy;
};

Schedule schedule_of(const image::ThreadCoreEntry* thread) {
  constexpr uint32_t kFifo = 1, kRoundRobin = 2, kDeadline = 6;
  if (!thread) return {20, 0, 0, 0};
  const int64_t nice = thread->sched_nice.value_or(0);
  const uint32_t policy = thread->sched_policy.value_or(0), realtime = thread->sched_prio.value_or(0);
  if (policy == kFifo || policy == kRoundRobin) return {-1 - int64_t{realtime}, nice, realtime, policy};
  return {policy == kDeadline ? -101 : 20 + nice, nice, 0, policy};
}

}  // namespace

Result<std::string> comm_text(Snapshot& snapshot, const Process& process, uint32_t tid) { return TRY(thread_state(snapshot, process, tid)).comm() + "\n"; }

Result<std::string> status_text(Snapshot& snapshot, const Process& process, uint32_t tid) {
  const ThreadState state = TRY(thread_state(snapshot, process, tid));
  const image::CredsEntry* creds = state.thread() && state.thread()->creds ? &*state.thread()->creds : nullptr;
  std::string out = "Name:\t";
  for (const char c : state.comm()) c == '\n' ? out += "\\n" : c == '\\' ? out += "\\\\" : out += c;
  out += '\n';
  const auto fs = state.dead() ? std::nullopt : if_readable(snapshot, snapshot.fs(process.pid));
  if (fs) add(out, "Umask:\t{:#04o}\n", (*fs)->umask.value_or(0));
  add(out, "State:\t{}\nTgid:\t{}\nNgid:\t0\nPid:\t{}\nPPid:\t{}\nTracerPid:\t0\n", state_name(state), process.pid, tid, process.ppid);
  add_credentials(out, creds);
  add(out, "FDSize:\t{}\n", state.dead() ? 0 : descriptor_room(snapshot, process));
  add_groups(out, creds);
  add(out, "NStgid:\t{}\nNSpid:\t{}\nNSpgid:\t{}\nNSsid:\t{}\nKthread:\t0\n", process.pid, tid, process.pgid, process.sid);
  const auto memory = state.dead() ? std::nullopt : if_readable(snapshot, snapshot.memory(process.pid));
  if (memory) {
    add_memory(out, usage_of(**memory));
    add(out, "CoreDumping:\t0\nTHP_enabled:\t{}\nuntag_mask:\t0xffffffffffffffff\n", (*memory)->mm().thp_disabled.value_or(false) ? 0 : 1);
  }
  add(out, "Threads:\t{}\n", process.threads.size());
  add_signals(out, state);
  add_capabilities(out, creds);
  add(out, "Seccomp:\t{}\nvoluntary_ctxt_switches:\t0\nnonvoluntary_ctxt_switches:\t0\n", seccomp_of(state));
  return out;
}

Result<std::string> stat_text(Snapshot& snapshot, const Process& process, uint32_t tid) {
  constexpr uint64_t kWord31 = 0x7fffffff;
  constexpr int kChildSignal = 17;
  const ThreadState state = TRY(thread_state(snapshot, process, tid));
  const image::TaskCoreEntry& task = state.task();
  const Terminal terminal = terminal_of(snapshot, process);
  const Schedule schedule = schedule_of(state.thread());
  const Actions actions = actions_of(task);
  const auto memory = state.dead() ? std::nullopt : if_readable(snapshot, snapshot.memory(process.pid));
  const Usage usage = memory ? usage_of(**memory) : Usage{};
  static const image::MmEntry kNone;
  const image::MmEntry& mm = memory ? (*memory)->mm() : kNone;
  const bool x86 = state.core->thread_info.has_value(), arm = state.core->ti_aarch64.has_value();
  const uint64_t sp = x86 ? state.core->thread_info->gpregs.sp : arm ? state.core->ti_aarch64->gpregs.sp : 0;
  const uint64_t ip = x86 ? state.core->thread_info->gpregs.ip : arm ? state.core->ti_aarch64->gpregs.pc : 0;
  std::string out;
  // From pid to kstkeip, in the order of proc(5); what no image tells is 0.
  add(out, "{} ({}) {} {} {} {} {} {} {} 0 0 0 0 0 0 0 0 {} {} {} 0 0 {} {} {} {} {} {} {} {}", tid, state.comm(), state_letter(state), process.ppid, process.pgid, process.sid,
      terminal.device, terminal.group, task.flags, schedule.priority, schedule.nice, process.threads.size(), usage.size, usage.resident() / kPageSize,
      limit_of(task, kLimitRss), mm.mm_start_code, mm.mm_end_code, mm.mm_start_stack, sp, ip);
  const uint64_t own = state.thread() ? pending_set(state.thread()->signals_p) : 0;
  add(out, " {} {} {} {} 0 0 0 {} 0 {} {} 0 0 0 {} {} {} {} {} {} {} {}\n", own & kWord31, state.blocked() & kWord31, actions.ignored & kWord31, actions.caught & kWord31,
      state.is_leader() ? kChildSignal : -1, schedule.realtime, schedule.policy, mm.mm_start_data, mm.mm_end_data, mm.mm_start_brk, mm.mm_arg_start, mm.mm_arg_end,
      mm.mm_env_start, mm.mm_env_end, task.exit_code);
  return out;
}

}  // namespace faultline::browse
