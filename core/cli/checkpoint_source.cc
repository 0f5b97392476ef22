#include "core/cli/checkpoint_source.h"

#include "browse/server_images.h"
#include "core/cli/option_readers.h"
#include "core/cli/page_server_link.h"
#include "pageserver/connecting_stream.h"
#include "pageserver/endpoint.h"
#include "pageserver/protocol.h"

namespace faultline::cli {

namespace {

constexpr std::string_view kScheme = "faultline://";

struct Place {
  std::string host;
  int port;
  std::string checkpoint;
};

// "host:port/name", "[::1]:port"
Result<Place> place_of(std::string_view url) {
  const std::string_view rest = url.substr(kScheme.size());
  const size_t slash = rest.find('/');
  const std::string_view address = rest.substr(0, slash);
  const size_t colon = address.rfind(':');
  if (colon == std::string_view::npos || colon == 0) return error(EINVAL, "{}: a page server is named as faultline://HOST:PORT/NAME", url);
  std::string_view host = address.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  auto port = read_number(address.substr(colon + 1), 1);
  if (!port) return wrap(port.error(), "{}: the port", url);
  if (*port > UINT16_MAX) return error(EINVAL, "{}: {} is no port; the highest is {}", url, *port, UINT16_MAX);
  return Place{std::string(host), *port, std::string(slash == std::string_view::npos ? "" : rest.substr(slash + 1))};
}

}  // namespace

Result<CheckpointSource> checkpoint_source(const std::string& where, const Options& o) {
  CheckpointSource source;
  if (!where.starts_with(kScheme)) {
    source.images = TRY(browse::images_in(where));
    return source;
  }
  const Place place = TRY(place_of(where));
  source.tls = TRY(tls_context(o));
  auto addresses = TRY(pageserver::resolve(place.host, static_cast<uint16_t>(place.port)));
  for (const auto& address : addresses) TRY(check_network(address, o));
  browse::ServerOptions options;
  options.checkpoint = place.checkpoint;
  options.timeout = std::chrono::seconds(o.page_timeout);
  options.name = where;
  if (!pageserver::is_loopback(addresses.front())) options.compressions = pageserver::kOfferLz4 | pageserver::kOfferZstd;
  options.connect = [addresses, tls = source.tls.get(), peer = o.tls_no_cn_verify ? std::string() : place.host] {
    return Result<std::unique_ptr<pageserver::Stream>>(pageserver::connecting_stream(addresses, tls, peer));
  };
  source.images = TRY(browse::images_at(std::move(options)));
  return source;
}

}  // namespace faultline::cli
