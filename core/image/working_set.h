#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/base/mapping.h"
#include "core/base/result.h"

namespace faultline::image {

// The pages that a restored program touched first, in order: recorded by one lazy restore, replayed by the next.

inline constexpr size_t kMaxWorkingSet = 65536;  // pages

// The file that holds those of a process, by its pid in the images: "working-set-4711.flws".
std::string working_set_name(uint32_t pid);

// Writes `origins` (page-aligned addresses in first-touch order) as the file `name` in `dir_fd`, by rename: it is there whole or not at all.
// Format: the 8 bytes "FLWS\x01\0\0\0" (magic, version), u32 number of pages, u32 0, u64 xxh3 checksum of the rest, then u64 addresses; little-endian.
Result<void> write_working_set(int dir_fd, const std::string& name, const std::vector<Vaddr>& origins);

// Reads such a file. Errors: ENOENT; EBADMSG for anything malformed, also a version that is not known.
Result<std::vector<Vaddr>> read_working_set(int dir_fd, const std::string& name);

}  // namespace faultline::image
