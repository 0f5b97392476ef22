#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "pageserver/endpoint.h"
#include "pageserver/stream.h"
#include "pageserver/tls.h"

namespace faultline::pageserver {

// A connection that is being made: to the first of `addresses` (not empty) that answers, each of which gets 3 s while there are others.
// Until it is made, read() and write() give 0. With `tls` (which must outlive the stream) the server must be `peer_name`, if that is not empty.
std::unique_ptr<Stream> connecting_stream(std::vector<SocketAddress> addresses, const TlsContext* tls, std::string peer_name);

}  // namespace faultline::pageserver
