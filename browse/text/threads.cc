// What belongs to one thread: registers, signal mask, scheduling, credentials and the like.
#include <sched.h>
#include <signal.h>

#include "browse/text/forms.h"
#include "browse/text/parts.h"
#include "core/image/json_writer.h"

namespace faultline::browse {

namespace {

using Words = std::vector<std::pair<std::string, uint64_t>>;

// Named as debuggers name them, in their order.
Words general_of(const image::UserX86RegsEntry& r) {
  return {{"rax", r.ax}, {"rbx", r.bx}, {"rcx", r.cx}, {"rdx", r.dx}, {"rsi", r.si}, {"rdi", r.di}, {"rbp", r.bp}, {"rsp", r.sp}, {"r8", r.r8},
          {"r9", r.r9}, {"r10", r.r10}, {"r11", r.r11}, {"r12", r.r12}, {"r13", r.r13}, {"r14", r.r14}, {"r15", r.r15}, {"rip", r.ip}, {"eflags", r.flags},
          {"cs", r.cs}, {"ss", r.ss}, {"ds", r.ds}, {"es", r.es}, {"fs", r.fs}, {"gs", r.gs}, {"fs_base", r.fs_base}, {"gs_base", r.gs_base}, {"orig_rax", r.orig_ax}};
}

Words general_of(const image::UserAarch64RegsEntry& r) {
  Words words;
  for (size_t i = 0; i < r.regs.size(); ++i) words.emplace_back(fmt::format("x{}", i), r.regs[i]);
  words.insert(words.end(), {{"sp", r.sp}, {"pc", r.pc}, {"pstate", r.pstate}});
  return words;
}

Words control_of(const image::UserX86FpregsEntry& f) {
  return {{"fctrl", f.cwd}, {"fstat", f.swd}, {"ftag", f.twd}, {"fop", f.fop}, {"frip", f.rip}, {"frdp", f.rdp}, {"mxcsr", f.mxcsr}, {"mxcsr_mask", f.mxcsr_mask}};
}

// Registers of 128 bits as images hold them: words of 32 bits, the lowest first. Written as one number; of st<n> 80 bits count.
using Wide = std::vector<std::pair<std::string, std::string>>;
Wide wide_of(const char* name, const std::vector<uint32_t>& words, size_t used) {
  Wide out;
  for (size_t at = 0; at + 4 <= words.size(); at += 4) {
    std::string digits = fmt::format("{:08x}{:08x}{:08x}{:08x}", words[at + 3], words[at + 2], words[at + 1], words[at]);
    out.emplace_back(fmt::format("{}{}", name, at / 4), "0x" + digits.substr(digits.size() - used));
  }
  return out;
}

Wide wide_of(const image::UserX86FpregsEntry& f) {
  constexpr size_t kExtended = 20, kWhole = 32;  // hexadecimal digits
  Wide out = wide_of("st", f.st_space, kExtended);
  for (auto& one : wide_of("xmm", f.xmm_space, kWhole)) out.push_back(std::move(one));
  if (f.xsave)
    for (auto& one : wide_of("ymmh", f.xsave->ymmh_space, kWhole)) out.push_back(std::move(one));
  return out;
}

struct Registers {
  const char* machine;
  Words general, control;
  Wide wide;
};

Result<Registers> registers_of(Snapshot& snapshot, uint32_t tid) {
  const auto core = TRY(snapshot.core(tid));
  if (core->thread_info) return Registers{"x86_64", general_of(core->thread_info->gpregs), control_of(core->thread_info->fpregs), wide_of(core->thread_info->fpregs)};
  if (!core->ti_aarch64) return Registers{"unknown", {}, {}, {}};
  Registers registers = {"aarch64", general_of(core->ti_aarch64->gpregs), {}, {}};
  const image::UserAarch64FpsimdContextEntry& f = core->ti_aarch64->fpsimd;
  registers.control = {{"fpsr", f.fpsr}, {"fpcr", f.fpcr}, {"tpidr", core->ti_aarch64->tls}};
  for (size_t at = 0; at + 2 <= f.vregs.size(); at += 2) registers.wide.emplace_back(fmt::format("v{}", at / 2), fmt::format("0x{:016x}{:016x}", f.vregs[at + 1], f.vregs[at]));
  return registers;
}

void add_words(image::JsonWriter& out, const char* key, const Words& words) {
  out.key(key);
  out.open_object();
  for (const auto& [name, value] : words) {
    out.key(name);
    out.text(fmt::format("{:#x}", value));
  }
  out.close_object();
}

const char* policy_name(uint32_t policy) {
  constexpr const char* kNames[] = {"SCHED_OTHER", "SCHED_FIFO", "SCHED_RR", "SCHED_BATCH", "", "SCHED_IDLE", "SCHED_DEADLINE", "SCHED_EXT"};
  return policy < std::size(kNames) ? kNames[policy] : "";
}

const char* seccomp_name(image::SeccompMode mode) {
  return mode == image::SeccompMode::strict ? "strict" : mode == image::SeccompMode::filter ? "filter" : "disabled";
}

}  // namespace

Result<std::string> registers_json(Snapshot& snapshot, const Process&, uint32_t tid) {
  const Registers registers = TRY(registers_of(snapshot, tid));
  image::JsonWriter out;
  out.open_object();
  out.key("machine");
  out.text(registers.machine);
  add_words(out, "general", registers.general);
  add_words(out, "control", registers.control);
  out.key("vector");
  out.open_object();
  for (const auto& [name, value] : registers.wide) {
    out.key(name);
    out.text(value);
  }
  out.close_object();
  out.close_object();
  return out.take() + "\n";
}

Result<std::string> registers_text(Snapshot& snapshot, const Process&, uint32_t tid) {
  const Registers registers = TRY(registers_of(snapshot, tid));
  std::string out;
  for (const Words* words : {&registers.general, &registers.control})
    for (const auto& [name, value] : *words) add(out, "{:<14} {:<#18x} {}\n", name, value, static_cast<int64_t>(value));
  for (const auto& [name, value] : registers.wide) add(out, "{:<14} {}\n", name, value);
  return out;
}

Result<std::string> sigmask_text(Snapshot& snapshot, const Process& process, uint32_t tid) {
  const uint64_t blocked = TRY(thread_state(snapshot, process, tid)).blocked();
  return fmt::format("{:016x} {}\n", blocked, signal_set(blocked));
}

Result<std::string> thread_signals_text(Snapshot& snapshot, const Process& process, uint32_t tid) {
  const ThreadState state = TRY(thread_state(snapshot, process, tid));
  std::string out = fmt::format("blocked: {}\npending for the thread:\n", signal_set(state.blocked()));
  add_queue(out, state.thread() ? state.thread()->signals_p : std::nullopt);
  return out;
}

Result<std::string> sched_text(Snapshot& snapshot, const Process& process, uint32_t tid) {
  const ThreadState state = TRY(thread_state(snapshot, process, tid));
  std::string out;
  if (!state.thread()) return out;
  const image::ThreadCoreEntry& thread = *state.thread();
  const uint32_t policy = thread.sched_policy.value_or(0);
  add(out, "policy: {} {}\nnice: {}\npriority: {}\n", policy, policy_name(policy), thread.sched_nice.value_or(0), thread.sched_prio.value_or(0));
  return out;
}

Result<std::string> creds_text(Snapshot& snapshot, const Process& process, uint32_t tid) {
  const ThreadState state = TRY(thread_state(snapshot, process, tid));
  std::string out;
  if (!state.thread() || !state.thread()->creds) return out;
  const image::CredsEntry& c = *state.thread()->creds;
  add(out, "uid: {}\neuid: {}\nsuid: {}\nfsuid: {}\ngid: {}\negid: {}\nsgid: {}\nfsgid: {}\ngroups:", c.uid, c.euid, c.suid, c.fsuid, c.gid, c.egid, c.sgid, c.fsgid);
  for (const uint32_t group : c.groups) add(out, " {}", group);
  add(out, "\ninheritable: {:016x}\npermitted: {:016x}\neffective: {:016x}\nbounding: {:016x}\nambient: {:016x}\n", from_words(c.cap_inh), from_words(c.cap_prm),
      from_words(c.cap_eff), from_words(c.cap_bnd), from_words(c.cap_amb));
  add(out, "securebits: {:#x}\nno_new_privs: {}\nseccomp: {}\n", c.secbits, c.no_new_privs.value_or(0),
      seccomp_name(state.thread()->seccomp_mode.value_or(state.task().old_seccomp_mode.value_or(image::SeccompMode::disabled))));
  if (c.lsm_profile) add(out, "lsm_profile: {}\n", *c.lsm_profile);
  return out;
}

Result<std::string> altstack_text(Snapshot& snapshot, const Process& process, uint32_t tid) {
  const ThreadState state = TRY(thread_state(snapshot, process, tid));
  if (!state.thread() || !state.thread()->sas) return std::string();
  const image::ThreadSasEntry& stack = *state.thread()->sas;
  return fmt::format("address: {:#x}\nsize: {}\nflags: {:#x}{}{}\n", stack.ss_sp, stack.ss_size, stack.ss_flags, stack.ss_flags & SS_DISABLE ? " SS_DISABLE" : "",
                     stack.ss_flags & SS_ONSTACK ? " SS_ONSTACK" : "");
}

Result<std::string> rseq_text(Snapshot& snapshot, const Process& process, uint32_t tid) {
  const ThreadState state = TRY(thread_state(snapshot, process, tid));
  if (!state.thread() || !state.thread()->rseq_entry) return std::string();
  const image::RseqEntry& rseq = *state.thread()->rseq_entry;
  std::string out = fmt::format("address: {:#x}\nsize: {}\nsignature: {:#x}\n", rseq.rseq_abi_pointer, rseq.rseq_abi_size, rseq.signature);
  if (rseq.rseq_cs_pointer) add(out, "critical section: {:#x}\n", *rseq.rseq_cs_pointer);
  return out;
}

Result<std::string> robust_list_text(Snapshot& snapshot, const Process& process, uint32_t tid) {
  const ThreadState state = TRY(thread_state(snapshot, process, tid));
  if (!state.thread()) return std::string();
  std::string out = fmt::format("head: {:#x}\nlength: {}\n", state.thread()->futex_rla, state.thread()->futex_rla_len);
  if (state.core->thread_info) add(out, "clear_child_tid: {:#x}\n", state.core->thread_info->clear_tid_addr);
  else if (state.core->ti_aarch64) add(out, "clear_child_tid: {:#x}\n", state.core->ti_aarch64->clear_tid_addr);
  return out;
}

}  // namespace faultline::browse
