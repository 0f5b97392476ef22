#pragma once

#include <string>

#include "core/base/live.h"
#include "core/base/unique_fd.h"
#include "core/cli/options.h"
#include "lazy/fault_loop.h"

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

// How a pager tells what it does. `observation` must outlive every pager; its listener is to be kept open in them.
lazy::Watch watch_of(Observation& observation);

}  // namespace faultline::cli
