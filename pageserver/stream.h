#pragma once

#include <sys/uio.h>

#include <chrono>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/base/result.h"
#include "core/base/unique_fd.h"

namespace faultline::pageserver {

// One end of a connection whose socket never waits: plain TCP, or TLS in it. One thread at a time.
class Stream {
 public:
  virtual ~Stream() = default;
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  // May change as long as a connection is in the making.
  virtual int fd() const { return socket_.get(); }
  // Bytes taken in or given out; 0: it would have to wait until poll(2) reports wanted_events().
  // Errors: ENODATA at the orderly end of the stream; those of the socket; EPROTO with a sentence from the TLS library.
  virtual Result<size_t> read(std::span<std::byte> to) = 0;
  virtual Result<size_t> write(std::span<const iovec> from) = 0;
  // What an operation that gave 0 waits for: POLLIN, or POLLOUT (a TLS read may have to write). Always POLLIN for plain reads.
  virtual short wanted_by_read() const = 0;
  virtual short wanted_by_write() const = 0;
  // Whether bytes are already here that poll(2) does not know of.
  virtual bool has_pending() const { return false; }
  // Whether the bytes of the socket are the bytes of the stream, so that other means may read and write them (io_uring).
  virtual bool is_plain() const { return false; }
  // The same for sending only: true too for TLS once the kernel encrypts (each send is a record of its own then).
  virtual bool sends_plain() const { return is_plain(); }
  // Who the other side has proved to be: common name and alternative names of its certificate. Empty before the handshake, and without TLS.
  virtual const std::vector<std::string>& peer_names() const;
  // Tells the other side that this is the end. Best effort.
  virtual void shutdown() = 0;

 protected:
  explicit Stream(UniqueFd socket) : socket_(std::move(socket)) {}
  UniqueFd socket_;
};

// Has the kernel find out that the machine at the other end is gone: when it has not been heard of for so long, whether something is on its way to
// it or not.
void watch_peer(int socket, std::chrono::milliseconds patience = std::chrono::seconds(60));

// A number that changes as the peer takes bytes of what was sent to it.
uint64_t mark_of_taken(int socket);

// Makes a socket non-blocking, and gives it TCP_NODELAY where it is TCP. The peer is watched.
Result<void> prepare_socket(int socket);

// The socket is prepared.
Result<std::unique_ptr<Stream>> plain_stream(UniqueFd socket);

}  // namespace faultline::pageserver
