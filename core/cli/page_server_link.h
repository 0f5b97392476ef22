#pragma once

#include <memory>

#include "core/base/result.h"
#include "core/cli/options.h"
#include "pageserver/stream.h"
#include "pageserver/tls.h"

namespace faultline::cli {

// The TLS material of the --tls options; nullptr without --tls.
Result<std::unique_ptr<pageserver::TlsContext>> tls_context(const Options& options);

// The connection to the page server that --address and --port, or --ps-socket, tell. `tls` may be nullptr, and must outlive the stream.
// Errors: those of the connection; EPERM if memory must not go there unencrypted.
Result<std::unique_ptr<pageserver::Stream>> connect_page_server(const Options& options, const pageserver::TlsContext* tls);

// Whether memory may be offered on the address that --address tells. Errors: EPERM, if it would go over a network unencrypted.
Result<void> check_listening(const Options& options);

}  // namespace faultline::cli
