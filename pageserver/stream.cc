#include "pageserver/stream.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <climits>

namespace faultline::pageserver {

namespace {

class PlainStream final : public Stream {
 public:
  explicit PlainStream(UniqueFd socket) : Stream(std::move(socket)) {}

  Result<size_t> read(std::span<std::byte> to) override {
    for (;;) {
      const ssize_t n = ::recv(socket_.get(), to.data(), to.size(), 0);
      if (n > 0) return static_cast<size_t>(n);
      if (n == 0) return error(ENODATA, "the other side has closed the connection");
      if (errno == EAGAIN) return size_t{0};
      if (errno != EINTR) return sys_error("cannot receive");
    }
  }

  Result<size_t> write(std::span<const iovec> from) override {
    msghdr message = {};
    message.msg_iov = const_cast<iovec*>(from.data());
    message.msg_iovlen = from.size();
    for (;;) {
      const ssize_t n = ::sendmsg(socket_.get(), &message, MSG_NOSIGNAL);
      if (n >= 0) return static_cast<size_t>(n);
      if (errno == EAGAIN) return size_t{0};
      if (errno != EINTR) return sys_error("cannot send");
    }
  }

  short wanted_by_read() const override { return POLLIN; }
  short wanted_by_write() const override { return POLLOUT; }
  bool is_plain() const override { return true; }
  void shutdown() override { (void)::shutdown(socket_.get(), SHUT_WR); }
};

}  // namespace

const std::vector<std::string>& Stream::peer_names() const {
  static const std::vector<std::string> none;
  return none;
}

// All of it fails for unix sockets, which need it not. How many probes may be lost is not said: TCP_USER_TIMEOUT overrides it (tcp(7)).
void watch_peer(int socket, std::chrono::milliseconds patience) {
  const int on = 1, idle_s = 10, every_s = 5;
  const auto unheard_ms = static_cast<unsigned>(std::min<int64_t>(patience.count(), INT_MAX));
  (void)::setsockopt(socket, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  (void)::setsockopt(socket, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof idle_s);
  (void)::setsockopt(socket, IPPROTO_TCP, TCP_KEEPINTVL, &every_s, sizeof every_s);
  (void)::setsockopt(socket, IPPROTO_TCP, TCP_USER_TIMEOUT, &unheard_ms, sizeof unheard_ms);
}

uint64_t mark_of_taken(int socket) {
  tcp_info info = {};
  socklen_t size = sizeof info;
  if (::getsockopt(socket, IPPROTO_TCP, TCP_INFO, &info, &size) == 0) return info.tcpi_bytes_acked;
  int waiting = 0;  // of a unix socket
  (void)::ioctl(socket, SIOCOUTQ, &waiting);
  return static_cast<uint64_t>(waiting);
}

Result<void> prepare_socket(int socket) {
  const int flags = ::fcntl(socket, F_GETFL);
  if (flags < 0 || ::fcntl(socket, F_SETFL, flags | O_NONBLOCK) < 0) return sys_error("cannot make a connection non-blocking");
  const int one = 1;
  (void)::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);  // fails for unix sockets, which need it not
  watch_peer(socket);
  return {};
}

Result<std::unique_ptr<Stream>> plain_stream(UniqueFd socket) {
  TRY(prepare_socket(socket.get()));
  return std::unique_ptr<Stream>(new PlainStream(std::move(socket)));
}

}  // namespace faultline::pageserver
