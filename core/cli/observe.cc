#include "core/cli/observe.h"

#include <fcntl.h>
#include <unistd.h>

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

lazy::Watch watch_of(Observation& observation) {
  lazy::Watch watch;
  watch.counters = &observation.live.pager();
  const auto server = std::make_shared<std::unique_ptr<pageserver::MetricsServer>>();
  watch.started = [&observation, server] {
    set(observation.live.page().pid, static_cast<uint64_t>(::getpid()));
    if (!observation.metrics) return;
    auto made = pageserver::MetricsServer::start(UniqueFd(::fcntl(observation.metrics.get(), F_DUPFD_CLOEXEC, 0)), observation.live.page());
    if (made) *server = std::move(*made);
    else LOG_WARNING("--metrics: {}", made.error().what);
  };
  watch.stopped = [server] { server->reset(); };
  // Of whichever process is the last: the object is another one in each.
  watch.ended = [&observation] { observation.live.retire(); };
  return watch;
}

}  // namespace faultline::cli
