#include "pageserver/endpoint.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>

#include <algorithm>
#include <memory>

namespace faultline::pageserver {

namespace {

uint16_t port_of(const SocketAddress& address) {
  if (address.storage.ss_family == AF_INET) return ntohs(reinterpret_cast<const sockaddr_in*>(&address.storage)->sin_port);
  return ntohs(reinterpret_cast<const sockaddr_in6*>(&address.storage)->sin6_port);
}

std::optional<SocketAddress> numeric(const std::string& host, uint16_t port) {
  SocketAddress address;
  auto* v4 = reinterpret_cast<sockaddr_in*>(&address.storage);
  if (inet_pton(AF_INET, host.c_str(), &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons(port);
    address.length = sizeof *v4;
    return address;
  }
  auto* v6 = reinterpret_cast<sockaddr_in6*>(&address.storage);
  if (inet_pton(AF_INET6, host.c_str(), &v6->sin6_addr) != 1) return std::nullopt;
  v6->sin6_family = AF_INET6;
  v6->sin6_port = htons(port);
  address.length = sizeof *v6;
  return address;
}

Failure not_found(const std::string& host, int code) {
  const bool later = code == EAI_AGAIN;
  return error(later ? EAGAIN : EHOSTUNREACH, "cannot find the address of {}: {}; give a numeric address", host,
               code == EAI_SYSTEM ? errno_text(errno) : gai_strerror(code));
}

// The kernel ends the io_uring of a server that was killed some milliseconds after the process, and with it the socket that it accepts on: a
// server that is started again at once waits for that.
constexpr int kBindTries = 20;
constexpr timespec kBindPause = {.tv_sec = 0, .tv_nsec = 25'000'000};

bool bind_and_listen(const Listener& made, int backlog) {
  for (int i = 1;; ++i) {
    if (::bind(made.socket.get(), made.address.get(), made.address.length) == 0) return ::listen(made.socket.get(), backlog) == 0;
    if (errno != EADDRINUSE || i == kBindTries) return false;
    ::clock_nanosleep(CLOCK_MONOTONIC, 0, &kBindPause, nullptr);
  }
}

}  // namespace

std::string text_of(const SocketAddress& address) {
  char text[INET6_ADDRSTRLEN] = "";
  if (address.storage.ss_family == AF_INET) {
    inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in*>(&address.storage)->sin_addr, text, sizeof text);
    return fmt::format("{}:{}", text, port_of(address));
  }
  if (address.storage.ss_family != AF_INET6) return "a local socket";
  inet_ntop(AF_INET6, &reinterpret_cast<const sockaddr_in6*>(&address.storage)->sin6_addr, text, sizeof text);
  return fmt::format("[{}]:{}", text, port_of(address));
}

bool is_loopback(const SocketAddress& address) {
  if (address.storage.ss_family == AF_INET)
    return ntohl(reinterpret_cast<const sockaddr_in*>(&address.storage)->sin_addr.s_addr) >> 24 == 127;
  if (address.storage.ss_family != AF_INET6) return false;
  const in6_addr& v6 = reinterpret_cast<const sockaddr_in6*>(&address.storage)->sin6_addr;
  return IN6_IS_ADDR_LOOPBACK(&v6) || (IN6_IS_ADDR_V4MAPPED(&v6) && v6.s6_addr[12] == 127);
}

bool is_local(int socket) {
  SocketAddress peer;
  peer.length = sizeof peer.storage;
  if (::getpeername(socket, reinterpret_cast<sockaddr*>(&peer.storage), &peer.length) < 0) return errno == ENOTSOCK;
  const int family = peer.storage.ss_family;
  return (family != AF_INET && family != AF_INET6) || is_loopback(peer);
}

Result<std::vector<SocketAddress>> resolve(const std::string& host, uint16_t port) {
  // Numbers are read here, so that a static program needs no name service library for them.
  if (auto address = numeric(host.empty() ? "127.0.0.1" : host, port)) return std::vector{*address};
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_ADDRCONFIG | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const int code = ::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found);
  if (code != 0) return not_found(host, code);
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owner(found, freeaddrinfo);
  std::vector<SocketAddress> addresses;
  for (const addrinfo* a = found; a; a = a->ai_next) {
    if (a->ai_family != AF_INET && a->ai_family != AF_INET6) continue;
    SocketAddress& address = addresses.emplace_back();
    std::copy_n(reinterpret_cast<const char*>(a->ai_addr), a->ai_addrlen, reinterpret_cast<char*>(&address.storage));
    address.length = a->ai_addrlen;
  }
  if (addresses.empty()) return not_found(host, EAI_NONAME);
  return addresses;
}

Result<std::optional<UniqueFd>> Connector::step() {
  if (!socket_) return try_next();
  // POLLOUT comes spuriously, too, and SO_ERROR of an attempt under way is 0: only a socket with a peer is connected.
  int code = 0;
  socklen_t size = sizeof code;
  if (::getsockopt(socket_.get(), SOL_SOCKET, SO_ERROR, &code, &size) < 0) code = errno;
  if (code == 0) {
    SocketAddress peer;
    peer.length = sizeof peer.storage;
    if (::getpeername(socket_.get(), reinterpret_cast<sockaddr*>(&peer.storage), &peer.length) == 0) return std::optional(std::move(socket_));
    if (errno == ENOTCONN) return std::optional<UniqueFd>();
    code = errno;
  }
  last_ = Error{code, fmt::format("cannot connect to {}: {}", text_of(to_[next_ - 1]), errno_text(code))};
  return try_next();
}

Result<std::optional<UniqueFd>> Connector::skip() {
  last_ = Error{ETIMEDOUT, fmt::format("cannot connect to {}: it does not answer", text_of(to_[next_ - 1]))};
  return try_next();
}

Result<std::optional<UniqueFd>> Connector::try_next() {
  socket_.reset();
  while (next_ < to_.size()) {
    const SocketAddress& address = to_[next_++];
    UniqueFd socket(::socket(address.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (socket && ::connect(socket.get(), address.get(), address.length) == 0) return std::optional(std::move(socket));
    if (socket && errno == EINPROGRESS) {
      socket_ = std::move(socket);
      return std::optional<UniqueFd>();
    }
    last_ = Error{errno, fmt::format("cannot connect to {}: {}", text_of(address), errno_text(errno))};
  }
  return Failure(last_.value_or(Error{EHOSTUNREACH, "there is no address to connect to"}));
}

Result<UniqueFd> connect_to(const std::string& host, uint16_t port, int timeout_ms) {
  Connector connector(TRY(resolve(host, port)));
  auto connected = TRY(connector.step());
  while (!connected) {
    pollfd wait = {.fd = connector.fd(), .events = POLLOUT, .revents = 0};
    const int ready = ::poll(&wait, 1, timeout_ms);
    if (ready < 0 && errno != EINTR) return sys_error("cannot wait for a connection to {}", host);
    if (ready == 0) connected = TRY(connector.skip());
    if (ready > 0) connected = TRY(connector.step());
  }
  return std::move(*connected);
}

Result<Listener> listen_on(const std::string& host, uint16_t port, int backlog) {
  Listener made;
  made.address = TRY(resolve(host, port)).front();
  made.socket = UniqueFd(::socket(made.address.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!made.socket) return sys_error("cannot make a socket for {}", text_of(made.address));
  // A server that is started again must not wait until the connections of the one before are forgotten.
  const int one = 1;
  (void)::setsockopt(made.socket.get(), SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (!bind_and_listen(made, backlog)) {
    const bool taken = errno == EADDRINUSE, foreign = errno == EADDRNOTAVAIL;
    return sys_error("cannot listen on {}{}", text_of(made.address),
                     taken     ? " (another program does; choose another port)"
                     : foreign ? " (no interface of this machine has this address; choose another address)"
                               : "");
  }
  if (::getsockname(made.socket.get(), reinterpret_cast<sockaddr*>(&made.address.storage), &made.address.length) < 0)
    return sys_error("cannot find out the port");
  made.port = port_of(made.address);
  return made;
}

Result<std::optional<std::string>> check_exposure(const SocketAddress& address, const Exposure& exposure) {
  if (exposure.tls || is_loopback(address)) return std::optional<std::string>();
  const std::string danger =
      fmt::format("memory, with all the secrets in it, would go unencrypted over the network, and to and from anybody there ({})", text_of(address));
  if (!exposure.insecure_network && !exposure.as_criu)
    return error(EPERM, "{}; protect it with --tls, use a loopback address, or allow it with --insecure-network", danger);
  return std::optional(danger + "; protect it with --tls");
}

}  // namespace faultline::pageserver
