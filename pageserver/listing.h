#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/base/result.h"

namespace faultline::pageserver {

// An image of a checkpoint, as the answer to FILES tells it (PROTOCOL.md, section 3).
struct Listed {
  std::string name;  // without '/'
  uint64_t size;     // bytes
};

// Lines of "size name", the inventory last. Errors: EBADMSG for names that cannot be, or too many.
Result<std::vector<Listed>> parse_listing(const std::string& text);

}  // namespace faultline::pageserver
