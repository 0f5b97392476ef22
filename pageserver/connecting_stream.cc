#include "pageserver/connecting_stream.h"

#include <poll.h>

namespace faultline::pageserver {

namespace {

using Clock = std::chrono::steady_clock;
constexpr auto kPatience = std::chrono::seconds(3);

class ConnectingStream final : public Stream {
 public:
  ConnectingStream(std::vector<SocketAddress> addresses, const TlsContext* tls, std::string peer_name)
      : Stream(UniqueFd()), more_(addresses.size() > 1), connector_(std::move(addresses)), tls_(tls), peer_name_(std::move(peer_name)) {}

  int fd() const override { return made_ ? made_->fd() : connector_.fd(); }

  Result<size_t> read(std::span<std::byte> to) override {
    if (!TRY(ready())) return size_t{0};
    return made_->read(to);
  }
  Result<size_t> write(std::span<const iovec> from) override {
    if (!TRY(ready())) return size_t{0};
    return made_->write(from);
  }
  short wanted_by_read() const override { return made_ ? made_->wanted_by_read() : POLLOUT; }
  short wanted_by_write() const override { return made_ ? made_->wanted_by_write() : POLLOUT; }
  bool has_pending() const override { return made_ && made_->has_pending(); }
  void shutdown() override {
    if (made_) made_->shutdown();
  }

 private:
  Result<bool> ready() {
    if (made_) return true;
    const bool too_long = more_ && Clock::now() - since_ > kPatience;
    auto socket = TRY(too_long ? connector_.skip() : connector_.step());
    if (too_long) since_ = Clock::now();
    if (!socket) return false;
    made_ = TRY(tls_ ? tls_stream(std::move(*socket), *tls_, TlsRole::kClient, peer_name_) : plain_stream(std::move(*socket)));
    return true;
  }

  bool more_;
  Connector connector_;
  const TlsContext* tls_;
  std::string peer_name_;
  Clock::time_point since_ = Clock::now();
  std::unique_ptr<Stream> made_;
};

}  // namespace

std::unique_ptr<Stream> connecting_stream(std::vector<SocketAddress> addresses, const TlsContext* tls, std::string peer_name) {
  return std::make_unique<ConnectingStream>(std::move(addresses), tls, std::move(peer_name));
}

}  // namespace faultline::pageserver
