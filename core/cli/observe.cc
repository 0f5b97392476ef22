#include "core/cli/observe.h"

#include "core/base/log.h"
#include "pageserver/endpoint.h"
#include "pageserver/metrics.h"

namespace faultline::cli {

Result<Observation> observe(LiveKind kind, const std::string& name, const Options& options) {
  Observation made;
  std::string where;
  if (!options.metrics.empty()) {
    const auto address = TRY(pageserver::parse_metrics_address(options.metrics));
    auto listener = pageserver::listen_on(address.host, address.port);
    if (!listener) return wrap(listener.error(), "--metrics");
    where = pageserver::text_of(listener->address);
    made.metrics = std::move(listener->socket);
    LOG_INFO("metrics at http://{}/metrics", where);
  }
  made.live = TRY(Live::publish(kind, name, where));
  return made;
}

}  // namespace faultline::cli
