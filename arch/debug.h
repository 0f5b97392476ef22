#pragma once

#include <sys/types.h>

#include <cstdint>

#include "core/base/result.h"

namespace faultline::arch {

// Sets the first hardware breakpoint of a thread that we trace and that is stopped: it stops before it executes `address`.
// Errors: ENOTSUP and those of ptrace(2) where the processor or the virtual machine has none.
Result<void> set_hardware_breakpoint(pid_t tid, uint64_t address);

// Can the kernel map the vdso again at an address of our choice? Errors: EINVAL if not.
Result<void> probe_map_vdso();

}  // namespace faultline::arch
