#pragma once

#include <functional>

#include "core/base/result.h"
#include "core/cli/options.h"

namespace faultline::cli {

// Writes one zero byte to the descriptor of --status-fd, and closes it, as CRIU does. Nothing if it is -1.
Result<void> tell_status(int fd);

// To be called by a service once it can be used.
using Ready = std::function<Result<void>()>;

// Runs `service` in a child with a session of its own; returns when it is ready, or has failed. Its pid is in --pidfile by then, and its
// standard descriptors lead to /dev/null: whoever reads our caller's output to its end must not wait for it.
// The exit code: 0, or 1 if it failed, which is in the log then. Call while there is one thread.
Result<int> run_in_background(const Options& options, const std::function<Result<int>(const Ready&)>& service);

}  // namespace faultline::cli
