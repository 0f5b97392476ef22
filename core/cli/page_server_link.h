#pragma once

#include <functional>
#include <memory>
#include <string>

#include "core/base/result.h"
#include "core/cli/options.h"
#include "pageserver/endpoint.h"
#include "pageserver/stream.h"
#include "pageserver/tls.h"

namespace faultline::cli {

// The TLS material of the --tls options; nullptr without --tls.
Result<std::unique_ptr<pageserver::TlsContext>> tls_context(const Options& options);

// The connection to the page server that --address and --port, or --ps-socket, tell. `tls` may be nullptr, and must outlive the stream.
// Errors: those of the connection; EPERM if memory must not go there unencrypted.
Result<std::unique_ptr<pageserver::Stream>> connect_page_server(const Options& options, const pageserver::TlsContext* tls);

// How connections to a page server are begun, again and again.
struct PageServerLink {
  std::function<Result<std::unique_ptr<pageserver::Stream>>()> connect;  // the connection may still be in the making
  std::string name;       // the address, for messages
  uint32_t compressions;  // that are worth while on the way (pageserver::kOffer...)
};

// To `host`, which is looked up once. `tls` may be nullptr, and must outlive `connect` and its streams.
// Errors: those of the name; EPERM if memory must not come from there unencrypted.
Result<PageServerLink> link_page_server(const std::string& host, uint16_t port, const pageserver::TlsContext* tls, const Options& options);

// The name that a client's certificate must have at our server: --address, as with CRIU, unless that means no machine (a wildcard), names are
// not compared, or --allow lists those who may. Empty: any.
std::string wanted_client(const Options& options);

// Whether memory may go to and come from this address, or any that `host` and --port mean. Errors: EPERM, if it would go over a network
// unencrypted.
Result<void> check_network(const pageserver::SocketAddress& address, const Options& options);
Result<void> check_network(const std::string& host, const Options& options);

}  // namespace faultline::cli
