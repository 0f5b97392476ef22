#pragma once

#include <memory>
#include <string>

#include "browse/images.h"
#include "core/cli/options.h"
#include "pageserver/tls.h"

namespace faultline::cli {

// A checkpoint to be looked at, wherever it is.
struct CheckpointSource {
  std::unique_ptr<pageserver::TlsContext> tls;  // of the connections: must outlive the images
  std::unique_ptr<browse::Images> images;
};

// `where`: a directory, or faultline://HOST:PORT[/NAME], which is a checkpoint with a page server; --tls and its companions say how to get there.
// Call while there is one thread, or after signals are blocked: connections may have threads.
// Errors: those of the directory; EINVAL for an address that cannot be; those of the connection; EPERM if memory must not go there unencrypted.
Result<CheckpointSource> checkpoint_source(const std::string& where, const Options& options);

}  // namespace faultline::cli
