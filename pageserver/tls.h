#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/base/result.h"
#include "core/base/unique_fd.h"
#include "pageserver/stream.h"

struct ssl_ctx_st;

namespace faultline::pageserver {

// A file name that is empty was not given: then CRIU's default place applies.
struct TlsOptions {
  std::string cacert;  // default /etc/pki/CA/cacert.pem if it is there, and the system's authorities as well
  std::string cacrl;   // default /etc/pki/CA/cacrl.pem if it can be read
  std::string cert;    // default /etc/pki/criu/cert.pem; may hold a chain
  std::string key;     // default /etc/pki/criu/private/key.pem; not encrypted
  // The names of the clients that a server serves; empty: whoever has a certificate of our authority.
  std::vector<std::string> allow;
};

// Own certificate and whom to trust, read from files once. Immutable: may be used by many streams and threads.
// Nothing of the TLS library runs before the first one is made, as its start is no part of a program without --tls.
class TlsContext {
 public:
  // Errors: those of the files, with the option that names another; EINVAL for what is no certificate, no key, or does not fit together.
  static Result<TlsContext> make(const TlsOptions& options);

  ssl_ctx_st* get() const { return context_.get(); }
  const std::vector<std::string>& allow() const { return allow_; }

 private:
  struct Free {
    void operator()(ssl_ctx_st* context) const;
  };
  std::unique_ptr<ssl_ctx_st, Free> context_;
  std::vector<std::string> allow_;
};

enum class TlsRole { kClient, kServer };

// TLS 1.2 or 1.3 on a connected socket. The handshake happens within the first calls of read() and write(), whichever comes: poll for what
// wanted_by_read() and wanted_by_write() say. Both sides show a certificate. `peer_name`, a host name or an address, must be in the peer's
// certificate; empty: any name will do. Once a peer is known, peer_names() tells its names.
// `context` must outlive the stream. SIGPIPE must be ignored in the process.
//
// Records, as CRIU's receiver needs them: each iovec of write() begins a new record, and records hold at most 16384 bytes. So headers and
// pages in iovecs of their own never share a record; pages given in blocks that begin at a multiple of 16384 of the data never cross a
// multiple of 64 KiB. After a write() that took less than it was offered, the next must begin with what is left (EINVAL otherwise, where
// it can be told), as a record of it may be half sent.
//
// Errors beside those of Stream: EPROTO with a sentence if either side refuses the other; EACCES if a client is not in --allow;
// ECONNRESET if the stream ends without TLS's own end, so that a cut is never taken for the end.
Result<std::unique_ptr<Stream>> tls_stream(UniqueFd socket, const TlsContext& context, TlsRole role, const std::string& peer_name);

}  // namespace faultline::pageserver
