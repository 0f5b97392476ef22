#pragma once

#include <optional>
#include <vector>

#include "core/cli/options.h"
#include "lazy/fault_loop.h"

// What restore and lazy-pages both tell their pager.
namespace faultline::cli {

// nullopt: recorded where there is a recording, else sequential.
std::optional<lazy::Prefetch> prefetch_of(const Options& options);

// The descriptors of the log that a pager in the background keeps open.
std::vector<int> pager_log_descriptors(const Options& options);

}  // namespace faultline::cli
