#include "arch/core_notes.h"

#include <elf.h>
#include <sys/user.h>

#include "arch/x86_64/xsave.h"

namespace faultline::arch {

namespace {

// The notes have the layout of Intel CPUs, wherever the image comes from: debuggers before gdb 14 know no other, and later ones tell the
// layouts apart by the size.
size_t xstate_size(const image::UserX86XsaveEntry& x) {
  if (!x.pkru.empty()) return kPkru.usual + kPkru.size;
  if (!x.hi16_zmm.empty() || !x.zmm_upper.empty() || !x.opmask_reg.empty()) return kHi16Zmm.usual + kHi16Zmm.size;
  if (!x.bndreg_state.empty() || !x.bndcsr_state.empty()) return kBndcsr.usual + kBndcsr.size;
  return x.ymmh_space.empty() ? kExtended : kYmm.usual + kYmm.size;
}

template <typename Word>
void put(std::span<std::byte> area, const Component& component, const std::vector<Word>& from, uint64_t& mask) {
  if (from.empty()) return;
  put_words(area, component.usual, component.size, from);
  mask |= uint64_t{1} << component.bit;
}

std::string xstate(const image::UserX86XsaveEntry& x, const std::string& legacy) {
  std::string bytes = legacy;
  bytes.resize(xstate_size(x));
  const std::span<std::byte> area = std::as_writable_bytes(std::span(bytes));
  uint64_t mask = 3;  // x87 and SSE
  put(area, kYmm, x.ymmh_space, mask);
  put(area, kBndregs, x.bndreg_state, mask);
  put(area, kBndcsr, x.bndcsr_state, mask);
  put(area, kOpmask, x.opmask_reg, mask);
  put(area, kZmmUpper, x.zmm_upper, mask);
  put(area, kHi16Zmm, x.hi16_zmm, mask);
  put(area, kPkru, x.pkru, mask);
  store(area, kSwReserved, mask);
  store(area, kHeader, x.xstate_bv & mask);
  return bytes;
}

}  // namespace

Result<CoreNotes> core_notes(const image::CoreEntry& core) {
  if (core.mtype != image::March::X86_64 || !core.thread_info)
    return error(ENOTSUP, "the registers are of another architecture (number {}); use a Faultline for that one", static_cast<int>(core.mtype));
  const image::UserX86RegsEntry& r = core.thread_info->gpregs;
  if (r.mode && *r.mode != image::UserX86RegsMode::NATIVE) return error(ENOTSUP, "the registers are of a 32-bit program, which is not supported");
  const user_regs_struct g = {.r15 = r.r15, .r14 = r.r14, .r13 = r.r13, .r12 = r.r12, .rbp = r.bp, .rbx = r.bx, .r11 = r.r11, .r10 = r.r10,
                              .r9 = r.r9, .r8 = r.r8, .rax = r.ax, .rcx = r.cx, .rdx = r.dx, .rsi = r.si, .rdi = r.di, .orig_rax = r.orig_ax,
                              .rip = r.ip, .cs = r.cs, .eflags = r.flags, .rsp = r.sp, .ss = r.ss, .fs_base = r.fs_base, .gs_base = r.gs_base,
                              .ds = r.ds, .es = r.es, .fs = r.fs, .gs = r.gs};
  CoreNotes out;
  static_assert(sizeof out.general == sizeof g);
  std::memcpy(&out.general, &g, sizeof g);

  const image::UserX86FpregsEntry& f = core.thread_info->fpregs;
  std::string legacy(sizeof(user_fpregs_struct), '\0');
  put_legacy(f, std::as_writable_bytes(std::span(legacy)));
  store(std::as_writable_bytes(std::span(legacy)), 28, f.mxcsr_mask);
  out.others.push_back({"CORE", NT_PRFPREG, legacy});
  if (f.xsave) out.others.push_back({"LINUX", NT_X86_XSTATE, xstate(*f.xsave, legacy)});
  return out;
}

uint16_t core_machine() { return EM_X86_64; }

}  // namespace faultline::arch
