#include "arch/registers.h"

#include <cpuid.h>
#include <elf.h>
#include <linux/futex.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include <algorithm>
#include <cstring>

#include "arch/x86_64/xsave.h"

namespace faultline::arch {

namespace {

// Kernel-internal results that ptrace can see (include/linux/errno.h).
constexpr long kRestartSys = 512, kRestartNoIntr = 513, kRestartNoHand = 514, kRestartBlock = 516;

constexpr size_t kMaxXsave = 16384;
constexpr uint64_t kKnown = 0x2ff;

size_t offset_of(const Component& component) {
  unsigned a = 0, b = 0, c = 0, d = 0;
  __cpuid_count(0xd, component.bit, a, b, c, d);
  return a == 0 ? 0 : b;
}

template <typename T>
T load(const std::vector<std::byte>& area, size_t at) {
  T value{};
  if (at + sizeof value <= area.size()) std::memcpy(&value, area.data() + at, sizeof value);
  return value;
}

template <typename Word>
std::vector<Word> words(const std::vector<std::byte>& area, size_t at, size_t bytes) {
  std::vector<Word> out(bytes / sizeof(Word));
  if (at + bytes <= area.size()) std::memcpy(out.data(), area.data() + at, bytes);
  return out;
}

uint64_t components_of(const std::vector<std::byte>& area) {
  return area.size() >= kExtended ? load<uint64_t>(area, kSwReserved) : 3;
}

template <typename Word>
void take(const std::vector<std::byte>& area, const Component& component, std::vector<Word>& to) {
  const size_t at = offset_of(component);
  if (at && (components_of(area) >> component.bit & 1)) to = words<Word>(area, at, component.size);
}

template <typename Word>
void put(std::vector<std::byte>& area, const Component& component, const std::vector<Word>& from) {
  const size_t at = offset_of(component);
  if (at && !from.empty()) put_words(area, at, component.size, from);
}

image::UserX86FpregsEntry fpregs(const std::vector<std::byte>& area) {
  image::UserX86FpregsEntry out;
  out.cwd = load<uint16_t>(area, 0);
  out.swd = load<uint16_t>(area, 2);
  out.twd = load<uint16_t>(area, 4);
  out.fop = load<uint16_t>(area, 6);
  out.rip = load<uint64_t>(area, 8);
  out.rdp = load<uint64_t>(area, 16);
  out.mxcsr = load<uint32_t>(area, 24);
  out.mxcsr_mask = load<uint32_t>(area, 28);
  out.st_space = words<uint32_t>(area, 32, 128);
  out.xmm_space = words<uint32_t>(area, 160, 256);
  if (area.size() >= kExtended) {
    image::UserX86XsaveEntry& x = out.xsave.emplace();
    x.xstate_bv = load<uint64_t>(area, kHeader);
    take(area, kYmm, x.ymmh_space);
    take(area, kBndregs, x.bndreg_state);
    take(area, kBndcsr, x.bndcsr_state);
    take(area, kOpmask, x.opmask_reg);
    take(area, kZmmUpper, x.zmm_upper);
    take(area, kHi16Zmm, x.hi16_zmm);
    take(area, kPkru, x.pkru);
  }
  return out;
}

void put_fpregs(const image::UserX86FpregsEntry& from, std::vector<std::byte>& area) {
  put_legacy(from, area);
  if (area.size() < kExtended) return;
  store(area, kHeader, from.xsave ? from.xsave->xstate_bv : uint64_t{3});
  if (!from.xsave) return;
  put(area, kYmm, from.xsave->ymmh_space);
  put(area, kBndregs, from.xsave->bndreg_state);
  put(area, kBndcsr, from.xsave->bndcsr_state);
  put(area, kOpmask, from.xsave->opmask_reg);
  put(area, kZmmUpper, from.xsave->zmm_upper);
  put(area, kHi16Zmm, from.xsave->hi16_zmm);
  put(area, kPkru, from.xsave->pkru);
}

// Calls that fail with EINTR when a thread is stopped, although no handler runs (signal(7), "Interruption by stop signals").
bool fails_for_a_stop(uint64_t nr) {
  switch (nr) {
    case SYS_epoll_wait: case SYS_epoll_pwait: case SYS_epoll_pwait2: case SYS_io_getevents: case SYS_rt_sigtimedwait:
    case SYS_semop: case SYS_semtimedop: case SYS_recvfrom: case SYS_recvmsg: case SYS_accept: case SYS_accept4: case SYS_connect:
    case SYS_sendto: case SYS_sendmsg: case SYS_read:
      return true;
    default:
      return false;
  }
}

// Calls whose arguments say all: they wait for ever, or until a time that does not move.
bool without_remaining_time(const CallState& call) {
  if (call.nr == SYS_poll) return static_cast<int>(call.args[2]) < 0;
  return call.nr == SYS_futex && (call.args[1] & FUTEX_CMD_MASK) != FUTEX_WAIT;
}

}  // namespace

uint64_t Registers::instruction() const { return general.rip; }
uint64_t Registers::stack() const { return general.rsp; }

Result<user_regs_struct> read_general(pid_t tid) {
  user_regs_struct general;
  iovec io = {&general, sizeof general};
  if (::ptrace(PTRACE_GETREGSET, tid, NT_PRSTATUS, &io) < 0) return sys_error("the registers of thread {} cannot be read", tid);
  if (io.iov_len != sizeof general) return error(ENOTSUP, "thread {} runs 32-bit code, which is not supported", tid);
  return general;
}

Result<void> write_general(pid_t tid, const user_regs_struct& general) {
  iovec io = {const_cast<user_regs_struct*>(&general), sizeof general};
  if (::ptrace(PTRACE_SETREGSET, tid, NT_PRSTATUS, &io) < 0) return sys_error("the registers of thread {} cannot be set", tid);
  return {};
}

Result<Registers> read_registers(pid_t tid) {
  Registers out;
  out.general = TRY(read_general(tid));
  out.vector.resize(kMaxXsave);
  iovec io = {out.vector.data(), out.vector.size()};
  if (::ptrace(PTRACE_GETREGSET, tid, NT_X86_XSTATE, &io) < 0) return sys_error("the vector registers of thread {} cannot be read", tid);
  out.vector.resize(io.iov_len);
  return out;
}

Result<void> write_registers(pid_t tid, const Registers& registers) {
  iovec io = {const_cast<std::byte*>(registers.vector.data()), registers.vector.size()};
  if (::ptrace(PTRACE_SETREGSET, tid, NT_X86_XSTATE, &io) < 0) return sys_error("the vector registers of thread {} cannot be set", tid);
  return write_general(tid, registers.general);
}

CallState call_state(const user_regs_struct& g, int restarted) {
  CallState state;
  if (static_cast<int64_t>(g.orig_rax) < 0) return state;
  state.nr = static_cast<int>(g.orig_rax);
  const uint64_t args[6] = {g.rdi, g.rsi, g.rdx, g.r10, g.r8, g.r9};
  std::copy(std::begin(args), std::end(args), state.args);
  switch (-static_cast<int64_t>(g.rax)) {
    case kRestartSys: case kRestartNoIntr: case kRestartNoHand:
      state.call = Call::kRepeat;
      break;
    case kRestartBlock:
      state.call = Call::kContinue;
      if (state.nr == SYS_restart_syscall) state.nr = restarted;
      if (without_remaining_time(state)) state.call = Call::kRepeat;
      break;
    default:
      break;
  }
  return state;
}

void to_image(const Registers& registers, const CallState& call, image::CoreEntry& core) {
  user_regs_struct g = registers.general;
  if (call.call == Call::kRepeat) {
    g.rax = static_cast<uint64_t>(call.nr);  // not that of restart_syscall(2)
    g.rip -= kSyscallLength;
  } else if (call.call == Call::kContinue) {
    g.rax = static_cast<uint64_t>(-EINTR);
  }
  core.mtype = image::March::X86_64;
  image::ThreadInfoX86& info = core.thread_info ? *core.thread_info : core.thread_info.emplace();
  info.gpregs = {.r15 = g.r15, .r14 = g.r14, .r13 = g.r13, .r12 = g.r12, .bp = g.rbp, .bx = g.rbx, .r11 = g.r11, .r10 = g.r10, .r9 = g.r9,
                 .r8 = g.r8, .ax = g.rax, .cx = g.rcx, .dx = g.rdx, .si = g.rsi, .di = g.rdi, .orig_ax = g.orig_rax, .ip = g.rip, .cs = g.cs,
                 .flags = g.eflags, .sp = g.rsp, .ss = g.ss, .fs_base = g.fs_base, .gs_base = g.gs_base, .ds = g.ds, .es = g.es, .fs = g.fs,
                 .gs = g.gs, .mode = image::UserX86RegsMode::NATIVE};
  info.fpregs = fpregs(registers.vector);
  // The three slots of the thread-local descriptors; 64-bit programs leave them empty.
  for (uint32_t slot = 12; info.tls.size() < 3; ++slot)
    info.tls.push_back({.entry_number = slot, .base_addr = 0, .limit = 0, .seg_32bit = false, .contents_h = false, .contents_l = false,
                        .read_exec_only = true, .limit_in_pages = false, .seg_not_present = true, .usable = false});
}

Result<void> check_image(const image::CoreEntry& core) {
  if (core.mtype != image::March::X86_64 || !core.thread_info) return error(ENOTSUP, "the checkpoint is of another architecture (number {})", static_cast<int>(core.mtype));
  const image::ThreadInfoX86& info = *core.thread_info;
  if (info.gpregs.mode && *info.gpregs.mode != image::UserX86RegsMode::NATIVE) return error(ENOTSUP, "the checkpoint holds a 32-bit program, which is not supported");
  if (info.fpregs.mxcsr & 0xffff0000) return error(EBADMSG, "mxcsr {:#x} has bits that no CPU has", info.fpregs.mxcsr);
  if (!info.fpregs.xsave) return {};
  unsigned a = 0, b = 0, c = 0, d = 0;
  __cpuid_count(0xd, 0, a, b, c, d);
  const uint64_t have = uint64_t{d} << 32 | a;
  const uint64_t missing = info.fpregs.xsave->xstate_bv & ~(have & kKnown);
  if (missing) return error(ENOTSUP, "the checkpoint uses CPU state components {:#x} that this CPU (components {:#x}) does not have", missing, have);
  return {};
}

Result<Registers> from_image(const image::CoreEntry& core, const Registers& now) {
  TRY(check_image(core));
  const image::UserX86RegsEntry& r = core.thread_info->gpregs;
  Registers out = now;
  user_regs_struct& g = out.general;
  g.r15 = r.r15, g.r14 = r.r14, g.r13 = r.r13, g.r12 = r.r12, g.rbp = r.bp, g.rbx = r.bx, g.r11 = r.r11, g.r10 = r.r10, g.r9 = r.r9, g.r8 = r.r8;
  g.rax = r.ax, g.rcx = r.cx, g.rdx = r.dx, g.rsi = r.si, g.rdi = r.di, g.rip = r.ip, g.eflags = r.flags, g.rsp = r.sp;
  g.fs_base = r.fs_base, g.gs_base = r.gs_base;
  if (r.cs) g.cs = r.cs, g.ss = r.ss, g.ds = r.ds, g.es = r.es, g.fs = r.fs, g.gs = r.gs;
  // The image says already how an interrupted call goes on: the kernel is not to decide it again.
  g.orig_rax = ~uint64_t{0};
  std::fill(out.vector.begin(), out.vector.begin() + std::min(out.vector.size(), kSwReserved), std::byte{0});
  if (out.vector.size() > kHeader) std::fill(out.vector.begin() + kHeader, out.vector.end(), std::byte{0});
  put_fpregs(core.thread_info->fpregs, out.vector);
  return out;
}

void set_continue(Registers& registers, int nr, uint64_t instruction) {
  registers.general.rax = static_cast<uint64_t>(-kRestartBlock);
  registers.general.orig_rax = static_cast<uint64_t>(nr);
  registers.general.rip = instruction;
}

bool fails_when_stopped(const user_regs_struct& general) {
  return static_cast<int64_t>(general.rax) == -EINTR && static_cast<int64_t>(general.orig_rax) >= 0 && fails_for_a_stop(general.orig_rax);
}

void set_repeat(user_regs_struct& general) { general.rax = static_cast<uint64_t>(-kRestartNoHand); }

void set_result(Registers& registers, int64_t result) { registers.general.rax = static_cast<uint64_t>(result); }

bool is_continue(const user_regs_struct& general, int nr) {
  return general.orig_rax == static_cast<uint64_t>(nr) && static_cast<int64_t>(general.rax) == -kRestartBlock;
}

void set_syscall(user_regs_struct& g, uint64_t instruction, long nr, const uint64_t (&args)[6]) {
  g.rip = instruction;
  g.rax = static_cast<uint64_t>(nr);
  g.orig_rax = ~uint64_t{0};
  g.rdi = args[0], g.rsi = args[1], g.rdx = args[2], g.r10 = args[3], g.r8 = args[4], g.r9 = args[5];
}

int64_t syscall_result(const user_regs_struct& general) { return static_cast<int64_t>(general.rax); }

}  // namespace faultline::arch
