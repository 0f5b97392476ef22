#include "pageserver/connection.h"

#include <fcntl.h>
#include <limits.h>

#include <algorithm>
#include <utility>

#include "core/base/log.h"

namespace faultline::pageserver {

namespace {

double seconds(std::chrono::milliseconds time) { return std::chrono::duration<double>(time).count(); }

}  // namespace

Connection::Connection(Desk& desk, std::unique_ptr<Stream> stream, Sources& sources, SessionOptions options)
    : desk_(desk), stream_(std::move(stream)), session_(sources, desk.counters, std::move(options)), plain_(stream_->is_plain()) {
  // The ring gives EAGAIN for a socket that is not to wait, instead of waiting by itself.
  if (plain_ && desk_.ring.can_receive()) {
    const int flags = ::fcntl(stream_->fd(), F_GETFL);
    if (flags >= 0) (void)::fcntl(stream_->fd(), F_SETFL, flags & ~O_NONBLOCK);
  }
  begun_ = heard_ = moved_ = std::chrono::steady_clock::now();
}

Connection::~Connection() {
  if (filling_) desk_.pool.give(std::move(filling_));
  if (sending_) desk_.pool.give(std::move(sending_));
}

void Connection::start() { listen(); }

void Connection::listen() {
  if (receiving_ || ending_ || !session_.wants_input()) return;
  receiving_ = true;
  ++in_flight_;
  if (plain_ && desk_.ring.can_receive()) desk_.ring.receive(stream_->fd(), received_);
  else if (stream_->has_pending()) desk_.ring.nop(readable_);  // what TLS has read already poll(2) does not know of
  else desk_.ring.poll(stream_->fd(), stream_->wanted_by_read(), readable_);
}

void Connection::on_received(int result, uint32_t flags) {
  const bool more = flags & IORING_CQE_F_MORE;
  if (!more) receiving_ = pausing_ = false, --in_flight_;
  if (result > 0 && (flags & IORING_CQE_F_BUFFER)) {
    if (!ending_) take(desk_.ring.received(result, flags));
    desk_.ring.give_back(flags);
  } else if (result == 0) {
    end("");
  } else if (result == -EINVAL) {
    desk_.ring.no_receive();
    const int old = ::fcntl(stream_->fd(), F_GETFL);
    (void)::fcntl(stream_->fd(), F_SETFL, old | O_NONBLOCK);
  } else if (result != -ENOBUFS && result != -ECANCELED && result != -EINTR && result != -EAGAIN) {
    end(fmt::format("cannot receive: {}", errno_text(-result)));
  }
  after_input();
}

void Connection::on_readable(int, uint32_t) {
  receiving_ = false;
  --in_flight_;
  read_stream();
  after_input();
}

// At most so much at once that the other connections get their turn.
void Connection::read_stream() {
  std::byte buffer[16 << 10];
  for (int i = 0; i < 4 && !ending_; ++i) {
    auto n = stream_->read(buffer);
    if (!n) {
      end(n.error().code == ENODATA ? "" : n.error().what);
      return;
    }
    if (*n == 0) return;
    take({buffer, *n});
  }
}

void Connection::take(std::span<const std::byte> bytes) {
  heard_ = std::chrono::steady_clock::now();
  parsed(session_.take(bytes));
}

void Connection::parsed(const Result<void>& outcome) {
  if (outcome) {
    if (!opened_ && session_.opened()) opened_ = true, desk_.has_opened(*this);
    if (auto errand = session_.take_errand()) ++in_flight_, desk_.send_for(std::move(errand), *this);
    return;
  }
  ++desk_.counters.broken;
  end(outcome.error().what);
}

void Connection::after_input() {
  if (ending_) return desk_.has_ended(*this);
  wake();
  if (!session_.wants_input() && receiving_ && !pausing_ && plain_ && desk_.ring.can_receive()) {
    pausing_ = true;
    desk_.ring.cancel(received_);
  }
  listen();
  finish_if_over();
}

bool Connection::can_produce() const {
  if (ending_ || filling_ || !session_.has_work()) return false;
  // While one chunk is on its way the next is made ready, but not if somebody waits for pages: then whatever is asked for next goes first.
  return !sending_ || !(session_.has_urgent() || desk_.lately_urgent());
}

void Connection::wake() {
  if (can_produce()) desk_.has_work(*this, session_.has_urgent());
}

void Connection::produce(size_t limit) {
  if (!can_produce()) return;
  auto chunk = desk_.pool.take(session_.has_urgent() ? Chunk::kSmall : limit);
  if (!chunk) return end(chunk.error().what);
  filling_ = std::move(*chunk);
  filled_ = false;
  if (auto done = session_.fill(*filling_, limit); !done) {
    ++desk_.counters.broken;
    return end(done.error().what);
  }
  if (filling_->reads().empty()) return chunk_filled();
  start_reads();
}

void Connection::start_reads() {
  if (!disk_reads_) disk_reads_ = std::make_unique<DiskRead[]>(kMaxReads * 2);
  auto& reads = filling_->reads();
  FL_CHECK(reads.size() <= kMaxReads * 2);
  reads_left_ = reads.size();
  for (size_t i = 0; i < reads.size(); ++i) {
    disk_reads_[i].connection = this;
    disk_reads_[i].index = i;
    ++in_flight_;
    desk_.ring.read(reads[i].fd, reads[i].to, reads[i].size, reads[i].offset, disk_reads_[i]);
  }
}

void Connection::read_done(size_t index, int result) {
  --in_flight_;
  Chunk::Read& read = filling_->reads()[index];
  const bool again = result == -EINTR || result == -EAGAIN;
  if ((again || filling_->completed(read, result)) && !ending_) {
    ++in_flight_;
    desk_.ring.read(read.fd, read.to, read.size, read.offset, disk_reads_[index]);
    return;
  }
  if (--reads_left_ == 0 && !ending_) chunk_filled();
  if (ending_) desk_.has_ended(*this);
}

void Connection::chunk_filled() {
  if (auto done = session_.finish(*filling_, desk_.scratch); !done) {
    ++desk_.counters.broken;
    return end(done.error().what);
  }
  filled_ = true;
  if (!sending_) send();
  // What waited because the session had enough can be looked at now.
  parsed(session_.take({}));
  after_input();
}

void Connection::send() {
  if (ending_) return;
  if (!sending_) {
    if (!filling_ || !filled_) return;
    sending_ = std::move(filling_);
    filled_ = false;
    moved_ = std::chrono::steady_clock::now();
  }
  if (sending_->iovecs().empty()) return sent(0);
  if (!plain_ || !desk_.ring.can_receive()) return write_stream();
  const auto iovecs = sending_->iovecs();
  message_ = {};
  message_.msg_iov = const_cast<iovec*>(iovecs.data());
  message_.msg_iovlen = std::min<size_t>(iovecs.size(), IOV_MAX);
  writing_ = true;
  ++in_flight_;
  desk_.ring.send(stream_->fd(), message_, sent_);
}

void Connection::on_sent(int result, uint32_t) {
  writing_ = false;
  --in_flight_;
  if (ending_) return desk_.has_ended(*this);
  if (result < 0 && result != -EINTR && result != -EAGAIN) return end(result == -EPIPE || result == -ECONNRESET ? "" : fmt::format("cannot send: {}", errno_text(-result)));
  sent(static_cast<size_t>(std::max(result, 0)));
}

void Connection::write_stream() {
  const auto iovecs = sending_->iovecs();
  auto n = stream_->write(iovecs.first(std::min<size_t>(iovecs.size(), IOV_MAX)));
  if (!n) return end(n.error().what);
  if (*n > 0) return sent(*n);
  writing_ = true;
  ++in_flight_;
  desk_.ring.poll(stream_->fd(), stream_->wanted_by_write(), writable_);
}

void Connection::on_writable(int, uint32_t) {
  writing_ = false;
  --in_flight_;
  if (ending_) return desk_.has_ended(*this);
  write_stream();
}

void Connection::sent(size_t bytes) {
  moved_ = std::chrono::steady_clock::now();
  if (sending_->sent(bytes)) desk_.pool.give(std::move(sending_));
  send();
  wake();
  finish_if_over();
}

void Connection::finish_if_over() {
  if (!ending_ && session_.over() && !filling_ && !sending_) end("");
}

void Connection::errand_done(Session::Text text) {
  --in_flight_;
  if (ending_) return desk_.has_ended(*this);
  session_.errand_done(std::move(text));
  parsed(session_.take({}));
  after_input();
}

void Connection::revoke() {
  session_.revoke();
  wake();
}

void Connection::drain() {
  session_.drain();
  after_input();
}

void Connection::end(const std::string& why) {
  if (ending_) return;
  ending_ = true;
  if (!why.empty()) LOG_WARNING("page server: the connection of {} is ended: {}", session_.peer(), why);
  else LOG_INFO("page server: {} is gone", session_.peer());
  // Ends whatever waits for the socket; reads of files end by themselves. What was sent still arrives.
  stream_->shutdown();
  (void)::shutdown(stream_->fd(), SHUT_RDWR);
  desk_.has_ended(*this);
}

void Connection::abandon() {
  session_.leave();
  (void)::shutdown(stream_->fd(), SHUT_RDWR);
}

void Connection::check_time(std::chrono::steady_clock::time_point now) {
  if (ending_) return;
  // One operation sends a whole chunk, over which a slow client may take longer than that, without ever pausing.
  if (sending_)
    if (const uint64_t taken = mark_of_taken(stream_->fd()); std::exchange(taken_, taken) != taken) moved_ = now;
  const Patience& patience = desk_.patience;
  std::string why;
  if (sending_ && now - moved_ > patience.taking) why = fmt::format("it has not taken what it asked for, for {:g} s", seconds(patience.taking));
  else if (!session_.said_hello() && now - begun_ > patience.hello) why = fmt::format("it has not said within {:g} s what it wants", seconds(patience.hello));
  else if (session_.in_message() && now - heard_ > patience.message) why = fmt::format("it has been silent for {:g} s in the middle of a message", seconds(patience.message));
  if (why.empty()) return;
  ++desk_.counters.broken;
  end(why);
}

}  // namespace faultline::pageserver
