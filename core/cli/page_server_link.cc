#include "core/cli/page_server_link.h"

#include <poll.h>

#include "core/base/log.h"
#include "pageserver/connecting_stream.h"
#include "pageserver/protocol.h"

namespace faultline::cli {

namespace {

constexpr int kConnectMs = 10'000;

Result<void> check_peer(int socket, const Options& o) {
  pageserver::SocketAddress peer;
  peer.length = sizeof peer.storage;
  if (::getpeername(socket, reinterpret_cast<sockaddr*>(&peer.storage), &peer.length) < 0) return sys_error("the page server's address");
  return check_network(peer, o);
}

// A page server says nothing unasked: whoever tries to read gets the handshake done, and nothing else.
Result<void> shake_hands(pageserver::Stream& stream) {
  std::byte nothing[1];
  while (stream.peer_names().empty()) {
    auto got = stream.read(nothing);
    if (!got) return wrap(got.error(), "no encrypted connection to the page server");
    if (*got > 0) return error(EPROTO, "the page server speaks before it is asked: it is none");
    pollfd socket = {stream.fd(), stream.wanted_by_read(), 0};
    if (stream.peer_names().empty() && ::poll(&socket, 1, kConnectMs) == 0) return error(ETIMEDOUT, "the page server does not answer; does it use --tls?");
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<pageserver::TlsContext>> tls_context(const Options& o) {
  if (!o.tls) return std::unique_ptr<pageserver::TlsContext>();
  return std::make_unique<pageserver::TlsContext>(TRY(pageserver::TlsContext::make(
      {.cacert = o.tls_cacert, .cacrl = o.tls_cacrl, .cert = o.tls_cert, .key = o.tls_key, .allow = o.allow})));
}

Result<std::unique_ptr<pageserver::Stream>> connect_page_server(const Options& o, const pageserver::TlsContext* tls) {
  // Who hands a connected socket over has taken care of it: no TLS on it, as with CRIU.
  if (o.ps_socket >= 0) return pageserver::plain_stream(UniqueFd(o.ps_socket));
  UniqueFd socket = TRY(pageserver::connect_to(o.address, static_cast<uint16_t>(o.port), kConnectMs));
  TRY(check_peer(socket.get(), o));
  if (!tls) return pageserver::plain_stream(std::move(socket));
  auto stream = TRY(pageserver::tls_stream(std::move(socket), *tls, pageserver::TlsRole::kClient, o.tls_no_cn_verify ? "" : o.address));
  TRY(shake_hands(*stream));
  return stream;
}

Result<PageServerLink> link_page_server(const std::string& host, uint16_t port, const pageserver::TlsContext* tls, const Options& o) {
  const auto addresses = TRY(pageserver::resolve(host, port));
  for (const auto& address : addresses) TRY(check_network(address, o));
  PageServerLink link;
  link.connect = [addresses, tls, peer = o.tls_no_cn_verify ? std::string() : host] {
    return Result<std::unique_ptr<pageserver::Stream>>(pageserver::connecting_stream(addresses, tls, peer));
  };
  link.name = pageserver::text_of(addresses.front());
  link.compressions = pageserver::is_loopback(addresses.front()) ? 0 : pageserver::kOfferLz4 | pageserver::kOfferZstd;
  return link;
}

std::string wanted_client(const Options& o) {
  const bool wildcard = o.address == "0.0.0.0" || o.address == "::";
  return o.tls_no_cn_verify || wildcard || !o.allow.empty() ? std::string() : o.address;
}

Result<void> check_network(const pageserver::SocketAddress& address, const Options& o) {
  const auto warning = TRY(pageserver::check_exposure(address, {.tls = o.tls, .insecure_network = o.insecure_network, .as_criu = o.as_criu}));
  if (warning) LOG_WARNING("{}", *warning);
  return {};
}

Result<void> check_network(const std::string& host, const Options& o) {
  for (const auto& address : TRY(pageserver::resolve(host, static_cast<uint16_t>(o.port)))) TRY(check_network(address, o));
  return {};
}

}  // namespace faultline::cli
