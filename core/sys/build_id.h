#pragma once

#include <cstdint>
#include <vector>

namespace faultline::sys {

// The GNU build id in the notes of a 64-bit ELF file, packed in words of which the last is filled up with zeros: the form of
// reg_file_entry.build_id (formats/image-files.md, section 7.2). Empty for what is no such file, or has none.
std::vector<uint32_t> build_id_of(int fd);

}  // namespace faultline::sys
