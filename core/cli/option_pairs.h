#pragma once

#include <string>
#include <vector>

#include "core/cli/options.h"

namespace faultline::cli {

// Which options of the command line alone, `given`, have no effect because another one is missing or is there, in all of `options`: a sentence for
// each. (A configuration file serves all commands: what stands there need not have an effect in each.)
std::vector<std::string> find_pairs_without_effect(const Options& given, const Options& options);

}  // namespace faultline::cli
