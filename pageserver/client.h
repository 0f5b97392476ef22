#pragma once

#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "pageserver/protocol.h"
#include "pageserver/receive_buffer.h"
#include "pageserver/stream.h"

namespace faultline::pageserver {

// How a client presents itself.
struct ClientOptions {
  std::string checkpoint;     // its name below the served directory; empty: the one in the directory itself
  uint64_t client = 0;        // chosen at random, the same for all connections of one restore
  uint32_t compressions = 0;  // that are accepted (kOffer...)
  std::chrono::milliseconds patience = std::chrono::seconds(15);  // with a server that is silent although it has been asked: see keep_alive()
};

// What comes in. Called from receive(); must not call the client's receive() itself.
struct ClientEvents {
  // Pages of a READ. `contents` is empty for pages of zeros, and valid until the return.
  std::function<void(const Range&, std::span<const std::byte> contents)> pages;
  // A request will not be answered (any further): READ, or COMMIT.
  std::function<void(uint64_t id, const Failed&)> failed;
  std::function<void()> revoked;
};

// One connection to a page server, Faultline's or CRIU's (PROTOCOL.md). Nothing here waits, but where it says so. One thread at a time.
class Client {
 public:
  // The connection may still be in the making. Errors: those of making a buffer.
  static Result<Client> start(std::unique_ptr<Stream> stream, const ClientOptions& options);

  // Tells the server that this is the end. Not by a destructor: after fork(2) there are two of us, and one connection.
  void close() { stream_->shutdown(); }

  int fd() const { return stream_->fd(); }
  // What poll(2) is to wait for before receive() or flush() can do something.
  short wanted_events() const;
  // Requests are sent from now on; before, they are kept back.
  bool ready() const { return state_ == State::kReady; }
  // Valid once ready.
  bool speaks_criu() const { return criu_; }
  bool live() const { return kind_ == SourceKind::kLive; }

  // Asks for pages. At most kMaxRanges ranges, kMaxReadPages pages. `urgent`: somebody waits. Gives the number of the request.
  uint64_t read(std::span<const Range> ranges, bool urgent);
  // Sends what goes.
  Result<void> flush();
  // Takes in what has come, about `budget` bytes of it, and tells. True: there may be more to take at once.
  // Errors: ENODATA at the end of the connection; EBADMSG for what is damaged or malformed; what OPEN was refused with.
  Result<bool> receive(size_t budget, const ClientEvents& events);
  // An answer is awaited from now on.
  void begin_waiting() { heard_ = std::chrono::steady_clock::now(), pinged_ = false; }
  // Bytes are here that poll(2) does not know of.
  bool has_pending() const { return stream_->has_pending(); }
  // To be called now and then while an answer is awaited: sends PING after 5 s of silence. Errors: ETIMEDOUT when patience ends.
  Result<void> keep_alive(std::chrono::steady_clock::time_point now);
  void set_patience(std::chrono::milliseconds patience) { options_.patience = patience; }

  // With waiting, at most `timeout` without any progress; the events of other requests are told to `events` meanwhile ---

  using Timeout = std::chrono::milliseconds;
  Result<void> wait_ready(Timeout timeout);
  // Until `done` says so.
  Result<void> wait(Timeout timeout, const ClientEvents& events, const std::function<bool()>& done);
  // The rest only at a Faultline server; ENOTSUP at CRIU's.
  Result<std::string> list_files(Timeout timeout);
  // The contents of an image, in order.
  Result<void> get_file(const std::string& name, Timeout timeout, const std::function<Result<void>(std::span<const std::byte>)>& sink);
  Result<void> commit(Timeout timeout);
  // All pages are in place: a source may end its processes. At CRIU's server: CLOSE.
  Result<void> done(Timeout timeout);
  // The answer to REVOKE: our processes are gone.
  Result<void> confirm_revoked(Timeout timeout);

 private:
  enum class State { kHello, kOpening, kReady };
  // A request of the second kind: one at a time.
  struct Call {
    uint64_t id = 0;
    bool answered = false;
    Result<void> outcome;
    std::function<Result<void>(std::span<const std::byte>)> sink;
  };

  Client(std::unique_ptr<Stream> stream, ReceiveBuffer buffer, const ClientOptions& options);
  void send_open(const ClientOptions& options);
  Result<bool> dispatch(const ClientEvents& events);
  Result<bool> take_hello();
  Result<bool> take_criu(const ClientEvents& events);
  Result<bool> take_frame(const ClientEvents& events);
  Result<void> take_pages(const Frame& frame, const ClientEvents& events);
  Result<void> take_failed(const Frame& frame, const ClientEvents& events);
  Result<void> take_answer(const Frame& frame);
  Result<void> call(FrameType type, std::string_view payload, Timeout timeout, std::function<Result<void>(std::span<const std::byte>)> sink);
  Result<void> need_own_protocol(const char* what) const;
  void criu_get(const Range& range);

  std::unique_ptr<Stream> stream_;
  ReceiveBuffer in_;
  std::string out_, held_;  // held_: requests from before it was ready
  size_t sent_ = 0;         // of out_
  ClientOptions options_;
  State state_ = State::kHello;
  bool criu_ = false;
  SourceKind kind_ = SourceKind::kStored;
  uint64_t next_id_ = 1;
  std::deque<Range> gets_;  // CRIU: asked for, answered in this order
  std::vector<Range> early_gets_;
  std::vector<std::byte> unpacked_;
  bool read_blocked_ = true;
  Call call_;
  std::chrono::steady_clock::time_point heard_;
  bool pinged_ = false;
};

}  // namespace faultline::pageserver
