#pragma once

#include <chrono>
#include <functional>

#include "browse/images.h"
#include "pageserver/client.h"

namespace faultline::browse {

// How a page server is reached.
struct ServerOptions {
  // Begins a connection, which may still be in the making. Called again when one was lost, from any thread.
  std::function<Result<std::unique_ptr<pageserver::Stream>>()> connect;
  std::string checkpoint;     // its name below the served directory; empty: the one in that directory itself
  uint32_t compressions = 0;  // that are accepted (pageserver::kOffer...)
  std::chrono::milliseconds timeout = std::chrono::seconds(60);  // without any progress
  std::string name;           // for messages: the URL
};

// A checkpoint with a page server: images and pages are fetched when they are read, and only these. Images are kept in a directory that
// nobody else sees, and that is gone with the process, pages nowhere. files() has no pages images; pagemaps are as the server makes them
// (pageserver/PROTOCOL.md, section 3). A source that is a frozen program is refused, and goes on waiting for its restore.
// Connects. Errors: those of the connection; EBUSY for a frozen program; ENOTSUP for a server that speaks CRIU's protocol only.
Result<std::unique_ptr<Images>> images_at(ServerOptions options);

}  // namespace faultline::browse
