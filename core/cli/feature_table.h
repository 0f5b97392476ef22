#pragma once

#include <span>
#include <string_view>

#include "core/base/result.h"

namespace faultline::cli {

// How much depends on a kernel feature; CRIU's three categories.
enum class Need {
  kAlways = 1,  // no dump or no restore without it
  kSome = 2,    // some programs cannot be saved or restored without it
  kLater = 3,   // asked for by programs that drive CRIU; nothing here uses it yet
};

struct Feature {
  const char* name;     // CRIU's name where CRIU has one
  Need need;
  Result<void> (*probe)();
  const char* without;  // what does not work if it is missing
};

std::span<const Feature> features();
// nullptr if there is no feature of this name.
const Feature* feature_of(std::string_view name);

}  // namespace faultline::cli
