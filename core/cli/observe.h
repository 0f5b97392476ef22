#pragma once

#include <string>

#include "core/base/live.h"
#include "core/base/unique_fd.h"
#include "core/cli/options.h"

namespace faultline::cli {

// How the work of a pager or a page server can be watched. Made before anything is forked, so that every successor has it too: the counters
// by their mapping, the listener as a descriptor to keep. Whoever counts calls MetricsServer::start() with a copy of the listener, if there is
// one, when it will fork no more.
struct Observation {
  Live live;
  UniqueFd metrics;  // listens at --metrics; empty without it
};

// Publishes counters for `faultline top`, under the name that it shows. Errors: those of listening at --metrics.
Result<Observation> observe(LiveKind kind, const std::string& name, const Options& options);

}  // namespace faultline::cli
