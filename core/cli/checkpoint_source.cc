#include "core/cli/checkpoint_source.h"

#include "browse/server_images.h"
#include "core/cli/option_readers.h"
#include "core/cli/page_server_link.h"

namespace faultline::cli {

namespace {

constexpr std::string_view kScheme = "faultline://";

struct Place {
  std::string host;
  uint16_t port;
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
  return Place{std::string(host), static_cast<uint16_t>(*port), std::string(slash == std::string_view::npos ? "" : rest.substr(slash + 1))};
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
  PageServerLink link = TRY(link_page_server(place.host, place.port, source.tls.get(), o));
  browse::ServerOptions options;
  options.connect = std::move(link.connect);
  options.checkpoint = place.checkpoint;
  options.compressions = link.compressions;
  options.timeout = std::chrono::seconds(o.page_timeout);
  options.name = where;
  source.images = TRY(browse::images_at(std::move(options)));
  return source;
}

}  // namespace faultline::cli
