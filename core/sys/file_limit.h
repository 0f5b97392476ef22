#pragma once

#include <cstdint>

namespace faultline::sys {

// How many descriptors this process may have open. `raise_file_limit` first makes it as many as it may ask for: the usual limit of 1024 is for
// programs that use select(2), and the hard limit is the administrator's. Programs that are started later inherit it.
// An operation of an io_uring keeps to the limit that was there when it was queued, so that this comes first.
uint64_t file_limit();
uint64_t raise_file_limit();

// What an administrator can do about this errno, to be appended to a message: for EMFILE and ENFILE; else empty.
const char* more_files_hint(int code);

}  // namespace faultline::sys
