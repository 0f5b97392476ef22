#pragma once

#include <cstdint>

#include "core/base/result.h"

namespace faultline::sys {

// Numbers of linux/capability.h. Given here because the headers of some systems end before the newer ones.
inline constexpr int kCapKill = 5;
inline constexpr int kCapSetuid = 7;
inline constexpr int kCapNetAdmin = 12;
inline constexpr int kCapSysPtrace = 19;
inline constexpr int kCapSysAdmin = 21;
inline constexpr int kCapSysResource = 24;
inline constexpr int kCapCheckpointRestore = 40;

struct Capabilities {
  uint64_t bits = 0;
  bool has(int number) const { return (bits >> number) & 1; }
};

// Those that are effective in the calling thread.
Result<Capabilities> effective_capabilities();

}  // namespace faultline::sys
