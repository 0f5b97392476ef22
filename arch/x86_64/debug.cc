#include "arch/debug.h"

#include <asm/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <unistd.h>

#include <cstddef>

namespace faultline::arch {

namespace {

Result<void> poke_debug_register(pid_t tid, size_t number, uint64_t value) {
  const size_t offset = offsetof(struct user, u_debugreg) + number * sizeof(user::u_debugreg[0]);
  if (ptrace(PTRACE_POKEUSER, tid, offset, value) < 0) return sys_error("cannot set debug register {} of thread {}", number, tid);
  return {};
}

}  // namespace

Result<void> set_hardware_breakpoint(pid_t tid, uint64_t address) {
  TRY(poke_debug_register(tid, 0, address));
  // Control register: breakpoint 0 on, for execution (type and length 0).
  return poke_debug_register(tid, 7, 1);
}

Result<void> probe_map_vdso() {
  // A process has one vdso; while ours is mapped, a kernel that knows the call answers EEXIST.
  if (syscall(SYS_arch_prctl, ARCH_MAP_VDSO_64, 0) < 0 && errno != EEXIST) return sys_error("arch_prctl(ARCH_MAP_VDSO_64)");
  return {};
}

}  // namespace faultline::arch
