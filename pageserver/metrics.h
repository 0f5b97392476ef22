#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "core/base/live.h"
#include "core/base/result.h"
#include "core/base/unique_fd.h"

namespace faultline::pageserver {

// The counters in Prometheus's text format (version 0.0.4).
std::string metrics_text(const LivePage& page);

// "9100", ":9100", "127.0.0.1:9100", "[::1]:9100", "host:9100" as host (empty: 127.0.0.1) and port. Errors: EINVAL.
struct MetricsAddress {
  std::string host;
  uint16_t port = 0;
};
Result<MetricsAddress> parse_metrics_address(const std::string& text);

// Answers GET /metrics over HTTP, in a thread of its own that nothing else waits for. Few connections at a time, idle ones for a
// moment only. By libevent, which is started here and not before.
class MetricsServer {
 public:
  // `listener`: made by listen_on(); who forks may keep it and give each successor a copy. `page` must outlive the server.
  // Errors: ENOMEM, EAGAIN if there can be no thread.
  static Result<std::unique_ptr<MetricsServer>> start(UniqueFd listener, const LivePage& page);
  // Ends the thread.
  ~MetricsServer();
  MetricsServer(const MetricsServer&) = delete;
  MetricsServer& operator=(const MetricsServer&) = delete;

 private:
  MetricsServer();
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace faultline::pageserver
