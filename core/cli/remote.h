#pragma once

#include <memory>

#include "core/cli/options.h"
#include "core/image/image_dir.h"
#include "lazy/remote.h"
#include "pageserver/tls.h"

// The page server that restore and lazy-pages fetch from.
namespace faultline::cli {

// Must outlive every pager that uses it.
struct RemoteServer {
  lazy::RemoteOptions options;
  std::unique_ptr<pageserver::TlsContext> tls;
};

// As --page-server and its companions say; nullptr without it. Not connected yet.
// Errors: those of finding the address and of the files of TLS.
Result<std::unique_ptr<RemoteServer>> remote_server(const Options& options);

// Fetches what is missing of a checkpoint into `dir`: all images, if there are none, or those of memory, if any of these is missing. The pages that
// may come late stay with the server. Connects. Does nothing at a server that speaks CRIU's protocol.
// Errors: those of the connection and of writing; EBADMSG for a listing that cannot be; ENOENT if neither side has an inventory.
Result<void> fetch_images(RemoteServer& server, const image::ImageDir& dir);

}  // namespace faultline::cli
