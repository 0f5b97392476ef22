#include "pageserver/client.h"

#include <poll.h>

#include <algorithm>
#include <cstring>

#include "pageserver/compression.h"

namespace faultline::pageserver {

namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kBuffer = 2 << 20;  // must hold the longest frame
constexpr auto kPingAfter = std::chrono::seconds(5);
static_assert(kBuffer > kMaxPayload + sizeof(FrameHeader));

void append_criu(std::string& to, const CriuHeader& header) { to.append(reinterpret_cast<const char*>(&header), sizeof header); }

}  // namespace

Client::Client(std::unique_ptr<Stream> stream, ReceiveBuffer buffer, const ClientOptions& options)
    : stream_(std::move(stream)), in_(std::move(buffer)), options_(options), heard_(Clock::now()) {
  append_criu(out_, hello());
}

Result<Client> Client::start(std::unique_ptr<Stream> stream, const ClientOptions& options) {
  return Client(std::move(stream), TRY(ReceiveBuffer::create(kBuffer)), options);
}

short Client::wanted_events() const {
  return static_cast<short>(stream_->wanted_by_read() | (sent_ < out_.size() ? stream_->wanted_by_write() : 0));
}

uint64_t Client::read(std::span<const Range> ranges, bool urgent) {
  const uint64_t id = next_id_++;
  if (state_ == State::kReady && criu_) {
    for (const Range& range : ranges) criu_get(range);
    return id;
  }
  std::string& to = state_ == State::kReady ? out_ : held_;
  append_frame(to, FrameType::kRead, static_cast<uint16_t>(kLast | (urgent ? kUrgent : 0)), id, encode(ranges));
  // Whom we speak to is not known yet.
  if (state_ == State::kHello) early_gets_.insert(early_gets_.end(), ranges.begin(), ranges.end());
  return id;
}

void Client::criu_get(const Range& range) {
  append_criu(out_, {.command = kCriuGet, .padding = 0, .pages = range.pages, .vaddr = range.address, .object = id_of(range.object)});
  gets_.push_back(range);
}

Result<void> Client::flush() {
  while (sent_ < out_.size()) {
    const iovec rest = {.iov_base = out_.data() + sent_, .iov_len = out_.size() - sent_};
    const auto n = stream_->write({&rest, 1});
    if (!n && n.error().code == ENOTCONN) return {};  // still connecting
    const size_t taken = TRY(std::move(n));
    if (taken == 0) return {};
    sent_ += taken;
  }
  out_.clear();
  sent_ = 0;
  return {};
}

Result<bool> Client::receive(size_t budget, const ClientEvents& events) {
  for (size_t taken = 0; taken < budget;) {
    const std::span<std::byte> room = in_.room();
    const size_t n = TRY(stream_->read(room.first(std::min(room.size(), budget - taken))));
    if (n == 0) return false;
    heard_ = Clock::now();
    pinged_ = false;
    in_.written(n);
    taken += n;
    while (TRY(dispatch(events))) {}
    TRY(flush());
  }
  return true;
}

// Takes one message from the buffer; false if none is complete.
Result<bool> Client::dispatch(const ClientEvents& events) {
  if (state_ == State::kHello) return take_hello();
  return criu_ ? take_criu(events) : take_frame(events);
}

Result<bool> Client::take_hello() {
  const auto bytes = in_.filled();
  if (bytes.size() < kHelloAnswer.size()) return false;
  const std::string_view answer(reinterpret_cast<const char*>(bytes.data()), kHelloAnswer.size());
  if (answer == kHelloAnswer) {
    state_ = State::kOpening;
    append_frame(out_, FrameType::kOpen, kLast, 0,
                 encode(Open{.compressions = options_.compressions, .client = options_.client, .name = options_.checkpoint}));
  } else if (answer == std::string_view("\0\0\0\0", 4)) {
    state_ = State::kReady;
    criu_ = true;
    held_.clear();
    for (const Range& range : early_gets_) criu_get(range);
  } else {
    return error(EPROTO, "what answers there is no page server");
  }
  early_gets_ = {};
  in_.consumed(kHelloAnswer.size());
  return true;
}

Result<bool> Client::take_criu(const ClientEvents& events) {
  const auto bytes = in_.filled();
  if (call_.id != 0 && gets_.empty()) {  // the status behind CLOSE
    int32_t status;
    if (bytes.size() < sizeof status) return false;
    std::memcpy(&status, bytes.data(), sizeof status);
    call_.answered = true;
    if (status != 0) call_.outcome = error(EIO, "the page server ends with status {}", status);
    in_.consumed(sizeof status);
    return true;
  }
  CriuHeader header;
  if (bytes.size() < sizeof header) return false;
  std::memcpy(&header, bytes.data(), sizeof header);
  if (gets_.empty() || header.vaddr != gets_.front().address || header.object != id_of(gets_.front().object) || header.pages == 0 ||
      header.pages > gets_.front().pages || (header.command & 0xffff) != kCriuAddFlags)
    return error(EBADMSG, "the page server sends pages that were not asked for (command {:#x}, {} pages at {:#x})", header.command, header.pages, header.vaddr);
  const size_t size = header.pages * kPageSize;
  if (size + sizeof header > kBuffer) return error(EBADMSG, "the page server sends {} pages at once", header.pages);
  if (bytes.size() < sizeof header + size) return false;
  Range& front = gets_.front();
  const Range come = {front.object, front.address, header.pages};
  const Range rest = {front.object, come.end(), front.pages - come.pages};
  gets_.pop_front();
  if (rest.pages != 0) criu_get(rest);
  events.pages(come, bytes.subspan(sizeof header, size));
  in_.consumed(sizeof header + size);
  return true;
}

Result<bool> Client::take_frame(const ClientEvents& events) {
  const auto frame = TRY(next_frame(in_.filled()));
  if (!frame) return false;
  switch (frame->header.type) {
    case FrameType::kPages: TRY(take_pages(*frame, events)); break;
    case FrameType::kFailed: TRY(take_failed(*frame, events)); break;
    case FrameType::kRevoke:
      if (events.revoked) events.revoked();
      break;
    case FrameType::kPong: break;
    case FrameType::kReady: {
      const Ready ready = TRY(decode_ready(frame->payload));
      if (state_ != State::kOpening) return error(EPROTO, "the page server is ready a second time");
      kind_ = ready.kind;
      state_ = State::kReady;
      out_ += std::exchange(held_, {});
      break;
    }
    default: TRY(take_answer(*frame));
  }
  in_.consumed(frame->size());
  return true;
}

Result<void> Client::take_pages(const Frame& frame, const ClientEvents& events) {
  const RunView run = TRY(decode_run(frame.payload));
  if (run.encoding == Encoding::kRaw || run.encoding == Encoding::kZero) {
    events.pages(run.range, run.contents);
    return {};
  }
  unpacked_.resize(run.range.pages * kPageSize);
  TRY(unpack(run.encoding, run.contents, unpacked_));
  events.pages(run.range, unpacked_);
  return {};
}

Result<void> Client::take_failed(const Frame& frame, const ClientEvents& events) {
  const Failed failed = TRY(decode_failed(frame.payload));
  if (state_ == State::kOpening) return error(failed.code, "the page server refuses: {}", failed.what);
  if (frame.header.id == call_.id) {
    call_.answered = true;
    call_.outcome = error(failed.code, "the page server says: {}", failed.what);
  } else if (events.failed) {
    events.failed(frame.header.id, failed);
  }
  return {};
}

Result<void> Client::take_answer(const Frame& frame) {
  if (frame.header.id != call_.id || call_.answered) return error(EPROTO, "the page server answers what was not asked");
  if (call_.sink && call_.outcome) call_.outcome = call_.sink(frame.payload);
  call_.answered = frame.header.flags & kLast;
  return {};
}

Result<void> Client::keep_alive(Clock::time_point now) {
  if (now - heard_ >= options_.patience) return error(ETIMEDOUT, "the page server has been silent for {} s", std::chrono::duration_cast<std::chrono::seconds>(now - heard_).count());
  if (now - heard_ < kPingAfter || pinged_ || !ready() || criu_) return {};
  append_frame(out_, FrameType::kPing, kLast, next_id_++, {});
  pinged_ = true;
  return flush();
}

Result<void> Client::wait(Timeout timeout, const ClientEvents& events, const std::function<bool()>& done) {
  begin_waiting();
  TRY(flush());
  while (!done()) {
    // In slices: while it is being connected, the next address is to be tried when the first does not answer.
    constexpr Timeout kSlice(500);
    pollfd p = {.fd = fd(), .events = wanted_events(), .revents = 0};
    const int n = stream_->has_pending() ? 1 : ::poll(&p, 1, static_cast<int>(std::min(kSlice, timeout).count()));
    if (n < 0 && errno != EINTR) return sys_error("cannot wait for the page server");
    if (n == 0 && Clock::now() - heard_ >= timeout) return error(ETIMEDOUT, "the page server has not answered for {} ms", timeout.count());
    TRY(flush());
    TRY(receive(kBuffer, events));
  }
  return {};
}

Result<void> Client::wait_ready(Timeout timeout) {
  const ClientEvents none = {.pages = [](const Range&, std::span<const std::byte>) {}, .failed = {}, .revoked = {}};
  return wait(timeout, none, [this] { return ready(); });
}

Result<void> Client::need_own_protocol(const char* what) const {
  if (criu_) return error(ENOTSUP, "the page server speaks CRIU's protocol, which has no way to {}", what);
  return {};
}

Result<void> Client::call(FrameType type, std::string_view payload, Timeout timeout, std::function<Result<void>(std::span<const std::byte>)> sink) {
  call_ = {.id = next_id_++, .answered = false, .outcome = {}, .sink = std::move(sink)};
  append_frame(out_, type, kLast, call_.id, payload);
  const ClientEvents none = {.pages = [](const Range&, std::span<const std::byte>) {}, .failed = {}, .revoked = {}};
  const auto waited = wait(timeout, none, [this] { return call_.answered; });
  auto outcome = std::move(call_.outcome);
  call_ = {};
  TRY(std::move(waited));
  return outcome;
}

Result<std::string> Client::list_files(Timeout timeout) {
  TRY(need_own_protocol("list images"));
  std::string text;
  TRY(call(FrameType::kFiles, {}, timeout, [&](std::span<const std::byte> bytes) -> Result<void> {
    if (!text.empty()) return error(EPROTO, "the page server's list of images is more than one message");
    text.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    return {};
  }));
  return text;
}

Result<void> Client::get_file(const std::string& name, Timeout timeout, const std::function<Result<void>(std::span<const std::byte>)>& sink) {
  TRY(need_own_protocol("fetch images"));
  return call(FrameType::kFile, name, timeout, sink);
}

Result<void> Client::commit(Timeout timeout) {
  TRY(need_own_protocol("commit"));
  return call(FrameType::kCommit, {}, timeout, {});
}

Result<void> Client::done(Timeout timeout) {
  if (!criu_) return call(FrameType::kDone, {}, timeout, {});
  append_criu(out_, {.command = kCriuClose});
  call_ = {.id = next_id_++, .answered = false, .outcome = {}, .sink = {}};
  const ClientEvents none = {.pages = [](const Range&, std::span<const std::byte>) {}, .failed = {}, .revoked = {}};
  TRY(wait(timeout, none, [this] { return call_.answered; }));
  return std::move(call_.outcome);
}

Result<void> Client::confirm_revoked(Timeout timeout) {
  append_frame(out_, FrameType::kRevoked, kLast, next_id_++, {});
  const auto end = Clock::now() + timeout;
  while (sent_ < out_.size() && Clock::now() < end) {
    TRY(flush());
    pollfd p = {.fd = fd(), .events = POLLOUT, .revents = 0};
    if (sent_ < out_.size()) (void)::poll(&p, 1, 100);
  }
  return {};
}

}  // namespace faultline::pageserver
