#pragma once

#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <utility>

#include "pageserver/chunk.h"

namespace faultline::pageserver {

// Which packing of pages a server offers.
enum class Compress { kAuto, kNone, kLz4, kZstd };

struct SessionOptions {
  std::string peer;        // for messages
  bool near = false;       // the other side is on this host: packing would cost more than it saves
  Compress compress = Compress::kAuto;
};

// What one client has asked for, and what is due to it: the protocols without the connection. It does not wait, and holds no descriptor.
//
//     bytes come in → take() → requests wait → fill() a chunk → (reads complete) → finish() → the chunk is sent
//
// One chunk at a time is between fill() and finish(). One thread.
class Session {
 public:
  // `sources` and `counters` must outlive the session.
  Session(Sources& sources, Counters& counters, SessionOptions options);
  ~Session();
  Session(const Session&) = delete;

  // Takes bytes in, and parses as long as wants_input(). To be called with nothing when it wants input again.
  // Errors: the connection is to be ended at once, with this reason.
  Result<void> take(std::span<const std::byte> bytes);
  // False while so much is waiting that the client has to wait too. What take() is given then is kept all the same.
  bool wants_input() const;
  // The client has begun a message, and not ended it.
  bool in_message() const { return !input_.empty() && wants_input(); }

  // The client has chosen a checkpoint.
  bool opened() const { return source_ != nullptr; }
  bool said_hello() const { return state_ != State::kHello; }

  bool has_work() const { return !urgent_.empty() || !bulk_.empty(); }
  // Somebody waits for a page.
  bool has_urgent() const { return !urgent_.empty() || urgent_gets_ > 0; }
  // Nothing more will come: the connection is to be closed once all is sent.
  bool over() const { return over_ && !has_work() && !asker_; }
  // Requests that come from now on are not looked at.
  void drain() { over_ = true; }

  // What takes long, to be done in another thread; it stays valid when the session is gone. Empty: nothing is to be done. Asked for after take();
  // errand_done() tells how it ended, after which take() is to be called with nothing.
  using Text = Result<std::shared_ptr<const std::string>>;
  using Errand = std::function<Text()>;
  Errand take_errand() { return std::exchange(errand_, {}); }
  void errand_done(Text text);

  // Puts into `chunk`, which is empty, what is due; at most `limit` bytes of contents; only what is urgent, if something is.
  // Errors: the connection is to be ended.
  Result<void> fill(Chunk& chunk, size_t limit);
  Result<void> finish(Chunk& chunk, std::vector<std::byte>& scratch);

  // The client is given up, and its source is told now.
  void leave();

  // The source takes its processes back: the client is told (PROTOCOL.md, section 5).
  void revoke();

  const std::string& name() const { return name_; }
  const std::string& peer() const { return options_.peer; }

 private:
  enum class State { kHello, kCriu, kFrames };
  struct Request {
    enum class Kind { kRead, kGet, kFile, kReply } kind;
    Chunk::Owner owner;
    std::vector<Range> ranges;  // kRead, kGet
    std::string name;           // kFile, until it is opened
    size_t next = 0;            // of ranges, or of file.pages
    ServedFile file;
    uint64_t done = 0;          // bytes of the file or of the reply
    FrameType type{};           // of the reply; 0: bytes without a frame
    bool listing = false;       // a reply to NAMES or FILES
    bool started = false;       // kGet: the header is under way
  };
  using Queue = std::deque<Request>;
  // For whom an errand is.
  struct Asker {
    FrameType type;
    uint64_t id;
    std::string name;  // FILE
  };

  Result<void> parse();
  Result<bool> parse_head();
  Result<void> parse_criu(const CriuHeader& header);
  Result<void> begin_criu(const Range& first);
  Result<void> parse_frame(const Frame& frame);
  Result<void> parse_open(const Frame& frame);
  Result<void> parse_read(const Frame& frame);
  Result<void> parse_named(const Frame& frame);
  Result<void> parse_simple(const Frame& frame);
  void put_file(Asker asker);
  void send_for(Asker asker, Errand errand);
  Result<void> need_source();
  Encoding choose(uint32_t offered) const;

  Request& push(Queue& queue, Request::Kind kind, uint64_t id);
  void reply(FrameType type, uint64_t id, std::string payload);
  void reply(FrameType type, uint64_t id, std::shared_ptr<const std::string> payload);
  void fail(uint64_t id, const Error& e);
  void answer(FrameType type, uint64_t id, const Result<void>& outcome);
  void pop(Queue& queue);
  void forget(Queue& queue, uint64_t serial);

  // These put the next part of a request into the chunk; true when it is done.
  Result<bool> step(Request& request, Chunk& chunk, size_t limit);
  Result<bool> step_read(Request& request, Chunk& chunk, size_t limit);
  Result<bool> step_get(Request& request, Chunk& chunk, size_t limit);
  Result<bool> step_file(Request& request, Chunk& chunk, size_t limit);
  Result<bool> step_reply(Request& request, Chunk& chunk);

  Sources& sources_;
  Counters& counters_;
  const SessionOptions options_;
  State state_ = State::kHello;
  std::string input_;
  std::string name_;
  std::shared_ptr<PageSource> source_;
  uint64_t client_ = 0;
  Encoding packing_ = Encoding::kRaw;
  Queue urgent_, bulk_;     // bulk_ also has all that CRIU's protocol asks for: its answers come in order
  size_t urgent_gets_ = 0;  // of single pages, in bulk_
  size_t ranges_ = 0;       // that wait
  uint64_t pages_ = 0;
  uint64_t serial_ = 0;
  bool over_ = false;
  bool told_of_shortage_ = false;
  bool listing_ = false;  // a reply to NAMES or FILES waits, or an errand is under way
  Errand errand_;         // not begun
  std::optional<Asker> asker_;  // while an errand is under way
};

}  // namespace faultline::pageserver
