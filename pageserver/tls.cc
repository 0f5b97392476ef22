#include "pageserver/tls.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <strings.h>
#include <sys/socket.h>
#include <xxhash.h>

#include <algorithm>
#include <optional>

#include "pageserver/tls_certificate.h"

namespace faultline::pageserver {

namespace {

constexpr size_t kRecord = SSL3_RT_MAX_PLAIN_LENGTH;  // 16384

// While it lives, small records wait for those behind them, so that a header and its pages leave together.
class Cork {
 public:
  Cork(int socket, bool wanted) : socket_(wanted ? socket : -1) { set(1); }
  ~Cork() { set(0); }
  Cork(const Cork&) = delete;

 private:
  void set(int on) const {
    if (socket_ >= 0) (void)::setsockopt(socket_, IPPROTO_TCP, TCP_CORK, &on, sizeof on);
  }
  const int socket_;
};

class TlsStream final : public Stream {
 public:
  TlsStream(UniqueFd socket, const TlsContext& context, TlsRole role, std::string peer_name)
      : Stream(std::move(socket)), context_(context), role_(role), peer_name_(std::move(peer_name)) {}

  Result<void> start();
  Result<size_t> read(std::span<std::byte> to) override;
  Result<size_t> write(std::span<const iovec> from) override;
  short wanted_by_read() const override { return read_wants_; }
  short wanted_by_write() const override { return write_wants_; }
  bool has_pending() const override { return failure_ || (more_to_read_ && SSL_has_pending(ssl_.get())); }
  bool sends_plain() const override;
  const std::vector<std::string>& peer_names() const override { return peer_names_; }
  void shutdown() override;

 private:
  struct Free {
    void operator()(SSL* ssl) const { SSL_free(ssl); }
  };
  // What the library's call with this result waits for; nullopt: it failed, and failure_ says why.
  std::optional<short> waits_for(int result);
  Error why(int code) const;
  Result<size_t> write_record(const std::byte* from, size_t length);
  static int on_certificate(int good, X509_STORE_CTX* chain);
  int judge(int good, X509_STORE_CTX* chain);
  int refuse(X509_STORE_CTX* chain, int code, int error_number, std::string why);

  const TlsContext& context_;
  const TlsRole role_;
  const std::string peer_name_;
  std::unique_ptr<SSL, Free> ssl_;
  std::vector<std::string> peer_names_;
  std::optional<Error> refused_;  // why we do not accept the other side's certificate
  std::optional<Error> failure_;  // the connection is dead
  short read_wants_ = POLLIN;
  short write_wants_ = POLLOUT;
  bool established_ = false;   // bytes have gone, so that the handshake was done; after an error the library does not tell any more
  bool more_to_read_ = false;  // the last read() ended because its buffer was full
  // The record that is half sent: its length, 0 if there is none, and a hash of its bytes.
  size_t unsent_ = 0;
  uint64_t unsent_hash_ = 0;
};

Result<void> TlsStream::start() {
  ssl_.reset(SSL_new(context_.get()));
  if (!ssl_ || SSL_set_fd(ssl_.get(), fd()) != 1) return error(ENOMEM, "cannot begin TLS: {}", library_error());
  SSL_set_app_data(ssl_.get(), this);
  SSL_set_verify(ssl_.get(), SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, on_certificate);
  if (role_ == TlsRole::kServer) {
    SSL_set_accept_state(ssl_.get());
    return {};
  }
  SSL_set_connect_state(ssl_.get());
  // A server of many names wants to know which one is meant. Addresses are no names there (RFC 6066, section 3).
  in6_addr address;
  const bool numeric = inet_pton(AF_INET, peer_name_.c_str(), &address) == 1 || inet_pton(AF_INET6, peer_name_.c_str(), &address) == 1;
  if (!peer_name_.empty() && !numeric) SSL_set_tlsext_host_name(ssl_.get(), peer_name_.c_str());
  return {};
}

int TlsStream::on_certificate(int good, X509_STORE_CTX* chain) {
  auto* ssl = static_cast<SSL*>(X509_STORE_CTX_get_ex_data(chain, SSL_get_ex_data_X509_STORE_CTX_idx()));
  return static_cast<TlsStream*>(SSL_get_app_data(ssl))->judge(good, chain);
}

int TlsStream::refuse(X509_STORE_CTX* chain, int code, int error_number, std::string why) {
  X509_STORE_CTX_set_error(chain, code);
  if (!refused_) refused_ = Error{error_number, std::move(why)};
  return 0;
}

// Called for each certificate of the chain, the peer's own last, at depth 0.
int TlsStream::judge(int good, X509_STORE_CTX* chain) {
  X509* certificate = X509_STORE_CTX_get_current_cert(chain);
  const int depth = X509_STORE_CTX_get_error_depth(chain), code = X509_STORE_CTX_get_error(chain);
  // An authority above the one that issued the certificate need not publish a list.
  if (!good && depth > 0 && code == X509_V_ERR_UNABLE_TO_GET_CRL) {
    X509_STORE_CTX_set_error(chain, X509_V_OK);
    return 1;
  }
  if (!good) return refuse(chain, code, EPROTO, refusal(code, certificate, X509_STORE_CTX_get0_cert(chain)));
  if (depth > 0) return 1;
  const auto names = names_of(certificate);
  if (!peer_name_.empty() && !is_for(certificate, peer_name_)) {
    const char* const way_out = role_ == TlsRole::kServer ? "let this client in with --allow NAME, one of its names, or any with --tls-no-cn-verify"
                                                          : "give an address that stands in it, or --tls-no-cn-verify";
    return refuse(chain, X509_V_ERR_HOSTNAME_MISMATCH, EPROTO,
                  fmt::format("the other side's certificate is not for {} (--address) but for {}; {}", peer_name_, list_of(names), way_out));
  }
  const auto allowed = [&](const std::string& name) {
    return std::ranges::any_of(names, [&](const std::string& own) { return strcasecmp(own.c_str(), name.c_str()) == 0; });
  };
  if (role_ == TlsRole::kServer && !context_.allow().empty() && std::ranges::none_of(context_.allow(), allowed))
    return refuse(chain, X509_V_ERR_APPLICATION_VERIFICATION, EACCES, fmt::format("the client ({}) is in no --allow", list_of(names)));
  peer_names_ = names;
  return 1;
}

Error TlsStream::why(int code) const {
  if (refused_) return *refused_;
  if (code == SSL_ERROR_ZERO_RETURN) return {ENODATA, "the other side has closed the connection"};
  if (code == SSL_ERROR_SYSCALL && errno != 0) return {errno, "the TLS connection broke: " + errno_text(errno)};
  const bool cut = code == SSL_ERROR_SYSCALL || ERR_GET_REASON(ERR_peek_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING;
  if (!cut) return {EPROTO, connection_error()};
  return {ECONNRESET, established_ ? "the TLS connection was cut: it ended without TLS's own end"
                                                       : "the other side closed the connection during the TLS handshake; its log tells why"};
}

std::optional<short> TlsStream::waits_for(int result) {
  const int code = SSL_get_error(ssl_.get(), result);
  if (code == SSL_ERROR_WANT_READ) return POLLIN;
  if (code == SSL_ERROR_WANT_WRITE) return POLLOUT;
  failure_ = why(code);
  ERR_clear_error();
  return std::nullopt;
}

Result<size_t> TlsStream::read(std::span<std::byte> to) {
  size_t got = 0;
  while (got < to.size()) {
    if (failure_) break;
    ERR_clear_error();
    errno = 0;
    size_t n = 0;
    const int result = SSL_read_ex(ssl_.get(), to.data() + got, to.size() - got, &n);
    if (result == 1) {
      established_ = true;
      got += n;
      continue;
    }
    if (const auto wanted = waits_for(result)) {
      read_wants_ = *wanted;
      more_to_read_ = false;
      return got;
    }
  }
  // What came before the end is given out first; the next call tells the end.
  if (got == 0 && failure_) return Failure(*failure_);
  more_to_read_ = true;
  read_wants_ = POLLIN;
  return got;
}

// All of it or nothing (0), as one record.
Result<size_t> TlsStream::write_record(const std::byte* from, size_t length) {
  // The library has encrypted the record that is half sent, and would take whatever bytes it is given now for those.
  if (unsent_ > 0 && (length < unsent_ || XXH3_64bits(from, unsent_) != unsent_hash_))
    return error(EINVAL, "TLS: other bytes are to be sent than those that were begun");
  if (unsent_ > 0) length = unsent_;
  ERR_clear_error();
  errno = 0;
  size_t n = 0;
  const int result = SSL_write_ex(ssl_.get(), from, length, &n);
  if (result == 1) {
    established_ = true;
    unsent_ = 0;
    return n;
  }
  const auto wanted = waits_for(result);
  if (!wanted) return Failure(*failure_);
  write_wants_ = *wanted;
  if (unsent_ == 0 && SSL_is_init_finished(ssl_.get())) {
    unsent_ = length;
    unsent_hash_ = XXH3_64bits(from, length);
  }
  return size_t{0};
}

Result<size_t> TlsStream::write(std::span<const iovec> from) {
  if (failure_) return Failure(*failure_);
  const Cork cork(fd(), from.size() > 1);
  size_t taken = 0;
  for (const iovec& part : from) {
    const auto* bytes = static_cast<const std::byte*>(part.iov_base);
    for (size_t at = 0; at < part.iov_len;) {
      const size_t n = TRY(write_record(bytes + at, std::min(kRecord, part.iov_len - at)));
      if (n == 0) return taken;
      at += n;
      taken += n;
    }
  }
  write_wants_ = POLLOUT;
  return taken;
}

bool TlsStream::sends_plain() const {
#ifdef BIO_get_ktls_send
  return SSL_is_init_finished(ssl_.get()) && unsent_ == 0 && BIO_get_ktls_send(SSL_get_wbio(ssl_.get())) != 0;
#else
  return false;
#endif
}

void TlsStream::shutdown() {
  // After an error of the library it must not be asked for anything more.
  if ((!failure_ || failure_->code == ENODATA) && SSL_is_init_finished(ssl_.get())) (void)SSL_shutdown(ssl_.get());
  ERR_clear_error();
  (void)::shutdown(fd(), SHUT_WR);
}

}  // namespace

Result<std::unique_ptr<Stream>> tls_stream(UniqueFd socket, const TlsContext& context, TlsRole role, const std::string& peer_name) {
  TRY(prepare_socket(socket.get()));
  auto stream = std::make_unique<TlsStream>(std::move(socket), context, role, peer_name);
  TRY(stream->start());
  return std::unique_ptr<Stream>(std::move(stream));
}

}  // namespace faultline::pageserver
