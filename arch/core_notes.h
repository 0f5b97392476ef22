#pragma once

#include <sys/procfs.h>

#include <cstdint>
#include <string>
#include <vector>

#include "core/base/result.h"
#include "core/image/messages.h"

namespace faultline::arch {

// The registers of a thread as debuggers find them in an ELF core (core(5), elf.h).
struct CoreNote {
  const char* name;   // "CORE" or "LINUX"
  uint32_t type;      // NT_*
  std::string bytes;
};
struct CoreNotes {
  elf_gregset_t general;        // part of NT_PRSTATUS
  std::vector<CoreNote> others;  // floating point and what this architecture has beside it
};

// From any image, also of a CPU with more than this one has. Errors: ENOTSUP for another architecture.
Result<CoreNotes> core_notes(const image::CoreEntry& core);

// The e_machine of such a core.
uint16_t core_machine();

}  // namespace faultline::arch
