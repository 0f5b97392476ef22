#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/base/result.h"
#include "core/base/unique_fd.h"

namespace faultline::pageserver {

// An IPv4 or IPv6 address with a port.
struct SocketAddress {
  sockaddr_storage storage = {};
  socklen_t length = 0;

  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

// "127.0.0.1:1234", "[::1]:1234".
std::string text_of(const SocketAddress& address);
// Whether what is sent there stays on this machine: 127.0.0.0/8, ::1, and ::ffff:127.0.0.0/104.
bool is_loopback(const SocketAddress& address);
// Whether a socket is connected to this machine itself: over loopback, or no network socket at all (a unix socket, a pipe).
bool is_local(int socket);

// Who a name or a numeric address means, in the order in which they are to be tried; never empty. Empty `host`: 127.0.0.1.
// A name may take as long as the name servers take. Errors: EHOSTUNREACH if nobody has that name, EAGAIN if the name servers do not answer.
Result<std::vector<SocketAddress>> resolve(const std::string& host, uint16_t port);

// Connects to the first of several addresses that answers, without waiting. For somebody who polls for much else as well.
class Connector {
 public:
  // `to` must not be empty.
  explicit Connector(std::vector<SocketAddress> to) : to_(std::move(to)) {}

  // To be called at first, and whenever fd() is ready for POLLOUT. The connected socket (non-blocking), or nullopt as long as it must wait.
  // Errors: those of the last address, when all have been tried. To be asked no more after it gave a socket or an error.
  Result<std::optional<UniqueFd>> step();
  // The socket to poll; changes with each step.
  int fd() const { return socket_.get(); }
  // Gives up the address that is being tried, and goes on with the next: for a caller whose patience with it has ended.
  Result<std::optional<UniqueFd>> skip();

 private:
  Result<std::optional<UniqueFd>> try_next();

  std::vector<SocketAddress> to_;
  size_t next_ = 0;
  UniqueFd socket_;
  std::optional<Error> last_;
};

// The same, waiting for at most `timeout_ms` for each address. The socket is non-blocking.
Result<UniqueFd> connect_to(const std::string& host, uint16_t port, int timeout_ms);

struct Listener {
  UniqueFd socket;  // non-blocking
  SocketAddress address;
  uint16_t port = 0;  // the one bound, also when 0 was asked for
};

// Listens on the first address that `host` means; empty: 127.0.0.1. Port 0: one that the kernel chooses.
// Errors: those of bind(2), with a sentence.
Result<Listener> listen_on(const std::string& host, uint16_t port, int backlog = 128);

// What makes it permissible to send memory, which holds secrets, over a connection, or to listen for those who want it.
struct Exposure {
  bool tls = false;
  bool insecure_network = false;  // --insecure-network
  bool as_criu = false;           // started under the name criu, whose users expect it to go
};

// What a person has to be warned of; nullopt: nothing. Errors: EPERM with the ways out, if it must not be.
Result<std::optional<std::string>> check_exposure(const SocketAddress& address, const Exposure& exposure);

}  // namespace faultline::pageserver
