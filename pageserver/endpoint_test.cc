#include "pageserver/endpoint.h"

#include <poll.h>
#include <unistd.h>

#include <catch2/catch.hpp>

using namespace faultline;
using namespace faultline::pageserver;

namespace {

SocketAddress address(const std::string& host) { return resolve(host, 1).value().front(); }

bool contains(const std::string& text, const char* part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("addresses are read, printed, and known as loopback or not") {
  CHECK(text_of(resolve("", 80)->front()) == "127.0.0.1:80");
  CHECK(text_of(resolve("::1", 443)->front()) == "[::1]:443");
  CHECK(text_of(resolve("192.0.2.7", 65535)->front()) == "192.0.2.7:65535");
  for (const char* host : {"127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"}) CHECK(is_loopback(address(host)));
  for (const char* host : {"0.0.0.0", "::", "192.0.2.1", "128.0.0.1", "::ffff:10.0.0.1", "fe80::1"}) CHECK_FALSE(is_loopback(address(host)));
}

TEST_CASE("a name that nobody has is told") {
  const auto found = resolve("no-such-host.invalid", 1);
  REQUIRE(!found);
  CHECK(contains(found.error().what, "no-such-host.invalid"));
}

TEST_CASE("a listener takes a free port, tells it, and can be reached") {
  for (const char* host : {"", "127.0.0.1", "::1", "localhost"}) {
    const auto listener = listen_on(host, 0);
    if (!listener && listener.error().code == EADDRNOTAVAIL) continue;  // no IPv6 here
    INFO(host << (listener ? "" : listener.error().what));
    REQUIRE(listener);
    CHECK(listener->port != 0);
    CHECK(is_loopback(listener->address));
    const auto connected = connect_to(host, listener->port, 5000);
    INFO((connected ? "" : connected.error().what));
    REQUIRE(connected);
    CHECK(is_local(connected->get()));
  }
}

TEST_CASE("a port that is taken is told with the way out") {
  const auto first = listen_on("", 0);
  REQUIRE(first);
  const auto second = listen_on("", first->port);
  REQUIRE(!second);
  CHECK(second.error().code == EADDRINUSE);
  CHECK(contains(second.error().what, "another port"));
  const auto foreign = listen_on("192.0.2.1", 0);  // TEST-NET-1 (RFC 5737) is nobody's
  REQUIRE(!foreign);
  CHECK(contains(foreign.error().what, "another address"));
}

TEST_CASE("all addresses are tried in turn") {
  const auto listener = listen_on("127.0.0.1", 0);
  REQUIRE(listener);
  std::vector<SocketAddress> addresses;
  // Nothing listens at the first: the port of a listener that is gone again.
  addresses.push_back(listen_on("127.0.0.2", 0)->address);
  addresses.push_back(listener->address);
  Connector connector(addresses);
  auto socket = connector.step();
  while (socket && !*socket) {
    pollfd wait = {.fd = connector.fd(), .events = POLLOUT, .revents = 0};
    REQUIRE(::poll(&wait, 1, 5000) == 1);
    socket = connector.step();
  }
  REQUIRE(socket);
  SocketAddress peer;
  peer.length = sizeof peer.storage;
  REQUIRE(::getpeername((*socket)->get(), reinterpret_cast<sockaddr*>(&peer.storage), &peer.length) == 0);
  CHECK(text_of(peer) == text_of(listener->address));
}

TEST_CASE("when nobody answers, the last reason is told") {
  const SocketAddress gone = listen_on("127.0.0.1", 0)->address;
  Connector connector({gone});
  auto socket = connector.step();
  while (socket && !*socket) {
    pollfd wait = {.fd = connector.fd(), .events = POLLOUT, .revents = 0};
    REQUIRE(::poll(&wait, 1, 5000) == 1);
    socket = connector.step();
  }
  REQUIRE(!socket);
  CHECK(socket.error().code == ECONNREFUSED);
  CHECK(contains(socket.error().what, text_of(gone).c_str()));
}

TEST_CASE("a unix socket is local") {
  int ends[2];
  REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
  const UniqueFd a(ends[0]), b(ends[1]);
  CHECK(is_local(a.get()));
}

TEST_CASE("memory leaves the machine only encrypted, or by leave") {
  const SocketAddress loopback = address("127.0.0.1"), wildcard = address("0.0.0.0"), other = address("2001:db8::1");
  const auto silent = [](const auto& result) { return result && !*result; };
  CHECK(silent(check_exposure(loopback, {})));
  CHECK(silent(check_exposure(wildcard, {.tls = true})));
  CHECK(silent(check_exposure(other, {.tls = true, .as_criu = true})));
  for (const auto& address : {wildcard, other}) {
    const auto refused = check_exposure(address, {});
    REQUIRE(!refused);
    CHECK(refused.error().code == EPERM);
    for (const std::string& way : {std::string("--tls"), std::string("--insecure-network"), text_of(address)})
      CHECK(contains(refused.error().what, way.c_str()));
    for (const Exposure& e : {Exposure{.insecure_network = true}, Exposure{.as_criu = true}}) {
      const auto warned = check_exposure(address, e);
      REQUIRE(warned);
      REQUIRE(*warned);
      CHECK(contains(**warned, "--tls"));
    }
  }
}
