#include "arch/entry.h"

#include <sys/syscall.h>

#include <algorithm>
#include <cstring>

namespace faultline::arch {

namespace {

class Assembler {
 public:
  void bytes(std::initializer_list<unsigned> list) {
    for (unsigned b : list) code_.push_back(static_cast<std::byte>(b));
  }
  void word(uint64_t value) {
    for (int i = 0; i < 8; ++i) code_.push_back(static_cast<std::byte>(value >> (8 * i)));
  }
  // mov $value, %register; changes no flags.
  void load(unsigned reg, uint64_t value) {
    bytes({reg < 8 ? 0x48u : 0x49u, 0xb8 + (reg & 7)});
    word(value);
  }
  // jmp *slot(%rip), the slot right behind.
  void jump(uint64_t to) {
    bytes({0xff, 0x25, 0, 0, 0, 0});
    word(to);
  }
  std::vector<std::byte> take() { return std::move(code_); }

 private:
  std::vector<std::byte> code_;
};

enum Register : unsigned { kAx, kCx, kDx, kBx, kSp, kBp, kSi, kDi, kR8, kR9, kR10, kR11, kR12, kR13, kR14, kR15 };

// Where the thread goes on, and with what in rax: an interrupted call is made again.
struct Back {
  uint64_t ip, ax;
};
Back back(const Registers& r, const CallState& call) {
  if (call.call == Call::kNone) return {r.general.rip, r.general.rax};
  return {r.general.rip - kSyscallLength, r.general.orig_rax};
}

}  // namespace

std::span<const std::byte> syscall_instruction() {
  static constexpr std::byte kCode[kSyscallLength] = {std::byte{0x0f}, std::byte{0x05}};
  return kCode;
}

std::vector<std::byte> call_stub(const Registers& interrupted, const CallState& call, uint64_t mask) {
  const user_regs_struct& g = interrupted.general;
  const Back to = back(interrupted, call);
  Assembler a;
  a.bytes({0x0f, 0x05});                                  // syscall
  a.load(kAx, SYS_rt_sigprocmask);
  a.load(kDi, 2);                                         // SIG_SETMASK
  a.bytes({0x48, 0x8d, 0x35, 0x02, 0, 0, 0});             // lea mask(%rip), %rsi
  a.bytes({0xeb, 0x08});                                  // jmp over the mask
  a.word(mask);
  a.load(kDx, 0);
  a.load(kR10, 8);
  a.bytes({0x0f, 0x05});
  a.load(kAx, to.ax);
  a.load(kCx, g.rcx);
  a.load(kDx, g.rdx);
  a.load(kSi, g.rsi);
  a.load(kDi, g.rdi);
  a.load(kR8, g.r8);
  a.load(kR9, g.r9);
  a.load(kR10, g.r10);
  a.load(kR11, g.r11);
  a.jump(to.ip);
  return a.take();
}

bool is_call_stub(std::span<const std::byte> code) {
  // All of them are alike up to the mask.
  constexpr size_t kAlike = 31;
  const std::vector<std::byte> some = call_stub({}, {}, 0);
  return code.size() == some.size() && std::equal(some.begin(), some.begin() + kAlike, code.begin());
}

std::vector<std::byte> return_stub(const Registers& interrupted, const CallState& call) {
  const user_regs_struct& g = interrupted.general;
  const Back to = back(interrupted, call);
  const uint64_t values[16] = {to.ax, g.rcx, g.rdx, g.rbx, g.rsp, g.rbp, g.rsi, g.rdi, g.r8, g.r9, g.r10, g.r11, g.r12, g.r13, g.r14, g.r15};
  Assembler a;
  a.load(kAx, g.eflags);
  a.bytes({0x50, 0x9d});                                  // push %rax; popf
  for (unsigned reg = 0; reg < 16; ++reg) a.load(reg, values[reg]);
  a.jump(to.ip);
  return a.take();
}

user_regs_struct run_registers(const Registers& interrupted, uint64_t run, uint64_t program, uint64_t stack_top) {
  user_regs_struct g = interrupted.general;
  g.rip = run;
  g.rsp = stack_top;
  g.rdi = program;
  g.rsi = 0;
  g.orig_rax = ~uint64_t{0};
  g.eflags &= ~uint64_t{0x500};  // neither single step nor backwards string operations
  return g;
}

void enter_agent(uint64_t run, uint64_t program, uint64_t barrier, uint64_t stack_top) {
  // The interpreter unmaps this code while it runs, so that it must never return here: its return address is 0,
  // and its programs end in kPark, or stop at a failed operation and are killed by the coordinator.
  asm volatile(
      "mov %3, %%rsp\n\t"
      "xor %%ebp, %%ebp\n\t"
      "push $0\n\t"
      "jmp *%0\n\t"
      :
      : "r"(run), "D"(program), "S"(barrier), "r"(stack_top)
      : "memory");
  __builtin_unreachable();
}

}  // namespace faultline::arch
