#pragma once

#include <array>
#include <chrono>
#include <memory>

#include "pageserver/ring.h"
#include "pageserver/session.h"
#include "pageserver/stream.h"

namespace faultline::pageserver {

class Connection;

// For how long a client may keep a place without doing its part (PROTOCOL.md, section 4).
struct Patience {
  std::chrono::milliseconds hello = std::chrono::seconds(60);    // from the connection to the end of its first message
  std::chrono::milliseconds message = std::chrono::seconds(60);  // of silence in the middle of a message
  std::chrono::milliseconds taking = std::chrono::seconds(60);   // in which it takes nothing of what it asked for
};

// What the connections of one worker share. One thread.
class Desk {
 public:
  Desk(Ring& ring, Counters& counters, const Patience& patience) : ring(ring), counters(counters), patience(patience), pool(counters) {}

  // `connection` has something to be produced, or is to be removed when it is idle. No effect if it is known already.
  virtual void has_work(Connection& connection, bool urgent) = 0;
  virtual void has_ended(Connection& connection) = 0;
  // The client has chosen a checkpoint. Told once.
  virtual void has_opened(Connection& connection) = 0;
  // Has the errand done by another thread; then calls the connection's errand_done(), in this one.
  virtual void send_for(Session::Errand errand, Connection& connection) = 0;
  // Somebody waited for a page within the last millisecond.
  virtual bool lately_urgent() const = 0;

  Ring& ring;
  Counters& counters;
  const Patience patience;
  ChunkPool pool;
  std::vector<std::byte> scratch;

 protected:
  ~Desk() = default;
};

// A session and its socket. At most two chunks are in its hands: one is being sent, one is being read, or waits for the first.
//
// Plain sockets: the ring receives and sends. Others (TLS), and plain ones where the kernel cannot receive into the ring's buffers: the
// ring polls, the stream reads and writes.
class Connection {
 public:
  // `stream` is at its beginning.
  Connection(Desk& desk, std::unique_ptr<Stream> stream, Sources& sources, SessionOptions options);
  ~Connection();
  Connection(const Connection&) = delete;

  void start();
  // Produces one chunk of at most `limit` bytes, and begins to send it, if it may.
  void produce(size_t limit);
  bool can_produce() const;
  bool urgent() const { return session_.has_urgent(); }

  void errand_done(Session::Text text);
  void revoke();
  // What was asked for is answered, then it ends.
  void drain();
  // Ends now. `why` is for the log; empty: nothing needs to be said.
  void end(const std::string& why);
  // Its worker has failed: the client sees the end, and nothing else happens any more.
  void abandon();
  // No operation is under way any more after end(): it may be destroyed.
  bool idle() const { return ending_ && in_flight_ == 0; }
  // Ends it if the client has been silent, or has not taken anything, for too long.
  void check_time(std::chrono::steady_clock::time_point now);

  bool queued = false, queued_urgent = false;  // for the desk
  uint64_t stranger = 0;                       // its number there as long as nothing is opened

 private:
  static constexpr size_t kMaxReads = Chunk::kBig / kPageSize;

  // A read of the chunk that is being filled.
  struct DiskRead final : Completion {
    void completed(int result, uint32_t) override { connection->read_done(index, result); }
    Connection* connection = nullptr;
    size_t index = 0;
  };

  void listen();
  void on_received(int result, uint32_t flags);
  void on_readable(int result, uint32_t);
  void on_sent(int result, uint32_t);
  void on_writable(int result, uint32_t);
  void read_stream();
  void write_stream();
  void take(std::span<const std::byte> bytes);
  void parsed(const Result<void>& outcome);
  void after_input();
  void start_reads();
  void read_done(size_t index, int result);
  void chunk_filled();
  void send();
  void sent(size_t bytes);
  void wake();
  void finish_if_over();

  Desk& desk_;
  const std::unique_ptr<Stream> stream_;
  Session session_;
  const bool plain_;
  Op<Connection, &Connection::on_received> received_{*this};
  Op<Connection, &Connection::on_readable> readable_{*this};
  Op<Connection, &Connection::on_sent> sent_{*this};
  Op<Connection, &Connection::on_writable> writable_{*this};
  std::unique_ptr<DiskRead[]> disk_reads_;  // made when the first is needed
  size_t reads_left_ = 0;
  std::unique_ptr<Chunk> filling_, sending_;
  bool filled_ = false;      // filling_ waits for sending_
  bool receiving_ = false;   // an operation waits for input
  bool pausing_ = false;     // ... and is to be cancelled
  bool writing_ = false;     // an operation sends, or waits until it can be sent
  bool ending_ = false;
  unsigned in_flight_ = 0;
  msghdr message_ = {};
  bool opened_ = false;      // the desk knows
  std::chrono::steady_clock::time_point begun_, heard_, moved_;  // last input; last output, or beginning of the one under way
  uint64_t taken_ = 0;                                   // mark_of_taken() when last looked at
};

}  // namespace faultline::pageserver
