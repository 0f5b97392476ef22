#pragma once

#include <string>

#include "browse/address_space.h"
#include "browse/snapshot.h"

namespace faultline::browse {

// The notes of an ELF core of a process, in the order in which the kernel writes them: the leader's registers first, because debuggers begin with
// that thread. A thread whose image cannot be read is left out, and noted.
// Errors: ENOTSUP for another architecture; that of the leader's image if no thread is left.
Result<std::string> elf_notes(Snapshot& snapshot, const Snapshot::Process& process, const AddressSpace& memory);

}  // namespace faultline::browse
