#include "pageserver/worker.h"

#include <sched.h>
#include <netinet/in.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <system_error>

#include "core/base/log.h"
#include "core/sys/file_limit.h"
#include "core/sys/time_slice.h"
#include "pageserver/endpoint.h"

namespace faultline::pageserver {

namespace {

constexpr unsigned kEntries = 1024;
using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kTick(1000);
constexpr std::chrono::milliseconds kLately(1);
// After something has come, it is waited for without sleeping: waking an idle virtual processor takes 50 to 75 us. Whoever else wants to run
// here goes first.
constexpr std::chrono::microseconds kAwake(200);

// "192.0.2.1:4711", for messages.
std::string peer_name(int socket) {
  SocketAddress peer;
  peer.length = sizeof peer.storage;
  if (::getpeername(socket, reinterpret_cast<sockaddr*>(&peer.storage), &peer.length) < 0) return "a client that is gone";
  const bool internet = peer.storage.ss_family == AF_INET || peer.storage.ss_family == AF_INET6;
  return internet ? text_of(peer) : "a local client";
}

// Errors of accept(2) that are about the connection that would have been the next, not about the listener.
bool is_of_client(int code) {
  for (const int passing : {ECONNABORTED, EINTR, EPROTO, ENOPROTOOPT, ENETDOWN, ENETUNREACH, EHOSTDOWN, EHOSTUNREACH, ENONET})
    if (code == passing) return true;
  return false;
}

uint64_t now_ns() { return static_cast<uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count()); }

}  // namespace

Result<std::unique_ptr<Worker>> Worker::make(Shared& shared, int listener) {
  UniqueFd wake(::eventfd(0, EFD_CLOEXEC));
  if (!wake) return sys_error("page server: cannot create an eventfd");
  return std::unique_ptr<Worker>(new Worker(shared, listener, TRY(Ring::make(kEntries, shared.newer_uring)), std::move(wake)));
}

Worker::Worker(Shared& shared, int listener, std::unique_ptr<Ring> ring, UniqueFd wake)
    : Desk(*ring, shared.counters, shared.patience), shared_(shared), listener_(listener), own_ring_(std::move(ring)), wake_(std::move(wake)) {}

Worker::~Worker() { stop(); }

Result<void> Worker::start() {
  try {
    thread_ = std::thread([this] { run(); });
  } catch (const std::system_error& e) {
    return error(e.code().value(), "page server: cannot start a thread: {}", e.what());
  }
  return {};
}

void Worker::tell(Order order) {
  orders_ |= order;
  const uint64_t one = 1;
  (void)!::write(wake_.get(), &one, sizeof one);
}

void Worker::stop() {
  if (!thread_.joinable()) return;
  tell(kStop);
  thread_.join();
}

void Worker::adopt(UniqueFd connection) {
  {
    std::lock_guard lock(mutex_);
    adopted_.push_back(std::move(connection));
  }
  tell(kAdopt);
}

void Worker::run() {
  sys::short_time_slice();
  auto done = serve();
  if (!done) give_up(done.error());
}

// The kernel does not tell when the last operation of a ring that was closed has ended, so that the connections with their buffers stay for good.
void Worker::give_up(const Error& why) {
  failed_ = true;
  LOG_ERROR("page server: a worker gives up, and its {} clients have to connect again: {}", connections_.size(), why.what);
  for (const auto& [connection, owner] : connections_) {
    connection->abandon();
    shared_.strangers.remove(connection->stranger);
    client_gone();
  }
  ring.close(accepted_);
  static std::mutex mutex;
  static auto* const wrecks = new std::vector<decltype(connections_)>;
  {
    std::lock_guard lock(mutex);
    wrecks->push_back(std::move(connections_));
  }
  const size_t left = --shared_.working;
  if (shared_.failed) shared_.failed(left);
}

Result<void> Worker::serve() {
  TRY(ring.begin());
  ring.read(wake_.get(), &wake_value_, sizeof wake_value_, 0, told_);
  ring.after(kTick, tick_);
  accept_more();
  while (!stopping_ || !connections_.empty()) {
    const bool idle = urgent_.empty() && bulk_.empty();
    const size_t came = TRY(ring.turn(idle && Clock::now() >= awake_until_));
    if (came > 0) awake_until_ = Clock::now() + kAwake;
    else if (idle) ::sched_yield();
    produce_urgent();
    produce_bulk();
    bury();
  }
  return {};
}

void Worker::produce_urgent() {
  if (urgent_.empty()) return;
  last_urgent_ = std::chrono::steady_clock::now();
  for (size_t n = urgent_.size(); n > 0; --n) {
    Connection& connection = *urgent_.front();
    urgent_.pop_front();
    connection.queued_urgent = false;
    connection.produce(Chunk::kSmall);
  }
}

void Worker::produce_bulk() {
  // Also if somebody has become urgent meanwhile: one whose socket takes all at once, and who marks all as urgent, always has.
  if (bulk_.empty()) return;
  Connection& connection = *bulk_.front();
  bulk_.pop_front();
  connection.queued = false;
  connection.produce(lately_urgent() ? Chunk::kSmall : Chunk::kBig);
  // Ahead of the chunk that is on its way; or the next if that one is already gone.
  if (connection.can_produce()) has_work(connection, connection.urgent());
}

bool Worker::lately_urgent() const { return std::chrono::steady_clock::now() - last_urgent_ < kLately; }

void Worker::has_work(Connection& connection, bool urgent) {
  bool& known = urgent ? connection.queued_urgent : connection.queued;
  if (std::exchange(known, true)) return;
  (urgent ? urgent_ : bulk_).push_back(&connection);
}

void Worker::has_ended(Connection& connection) { ended_.push_back(&connection); }

// The connection is not idle meanwhile, and stays.
void Worker::send_for(Session::Errand errand, Connection& connection) {
  shared_.helper->post([this, errand = std::move(errand), to = &connection] {
    auto text = errand();
    {
      std::lock_guard lock(mutex_);
      errands_.emplace_back(to, std::move(text));
    }
    tell(kErrand);
  });
}

void Worker::take_errands() {
  std::vector<std::pair<Connection*, Session::Text>> done;
  {
    std::lock_guard lock(mutex_);
    done.swap(errands_);
  }
  for (auto& [connection, text] : done) connection->errand_done(std::move(text));
}

// Connections are destroyed here only, when no function of theirs is being run.
void Worker::bury() {
  for (Connection* connection : std::exchange(ended_, {})) {
    const auto at = connections_.find(connection);
    if (at == connections_.end() || !connection->idle()) continue;
    std::erase(urgent_, connection);
    std::erase(bulk_, connection);
    shared_.strangers.remove(connection->stranger);
    connections_.erase(at);
    client_gone();
  }
}

void Worker::accept_more() {
  if (listener_ < 0 || accepting_ || draining_ || stopping_) return;
  accepting_ = true;
  ring.accept(listener_, accepted_);
}

void Worker::on_accepted(int result, uint32_t flags) {
  if (!(flags & IORING_CQE_F_MORE)) accepting_ = false;
  if (result >= 0) {
    accept_trouble_ = false;
    add(UniqueFd(result), false);
  } else if (!is_of_client(-result) && !(result == -EINVAL && ring.no_multishot_accept())) {
    // Too few descriptors, for example, which lasts: again at the next tick.
    if (result != -ECANCELED && !std::exchange(accept_trouble_, true)) LOG_WARNING("page server: cannot accept connections for now: {}{}", errno_text(-result), sys::more_files_hint(-result));
    return;
  }
  accept_more();
}

// A line for each of a flood of connections would be a flood of its own.
bool Worker::may_tell_of_refusal() {
  uint64_t last = shared_.last_refusal_ns.load();
  const uint64_t now = now_ns();
  return (last == 0 || now - last >= 1'000'000'000) && shared_.last_refusal_ns.compare_exchange_strong(last, now);
}

void Worker::refuse(const std::string& peer) {
  const uint64_t all = ++shared_.counters.refused;
  if (may_tell_of_refusal())
    LOG_WARNING("page server: {} is refused: there are {} clients already, more than --max-clients allows ({} refused so far)", peer, shared_.max_clients, all);
}

// All places are taken: the oldest connection that has opened nothing gives way. For a moment, until its worker has ended it, there is one more.
bool Worker::make_room(const std::string& peer) {
  const auto oldest = shared_.strangers.take_oldest();
  if (!oldest) return false;
  const uint64_t all = ++shared_.counters.refused;
  if (may_tell_of_refusal())
    LOG_WARNING("page server: all {} places (--max-clients) are taken: connections that have opened no checkpoint are ended for newcomers, now for {} ({} refused so far)",
                shared_.max_clients, peer, all);
  oldest->second->put_out(oldest->first);
  return true;
}

void Worker::put_out(uint64_t stranger) {
  {
    std::lock_guard lock(mutex_);
    put_out_.push_back(stranger);
  }
  tell(kPutOut);
}

void Worker::take_put_out() {
  std::vector<uint64_t> numbers;
  {
    std::lock_guard lock(mutex_);
    numbers.swap(put_out_);
  }
  for (const auto& [connection, owner] : connections_)
    if (connection->stranger != 0 && std::ranges::find(numbers, connection->stranger) != numbers.end()) connection->end("");
}

void Worker::client_gone() {
  if (--shared_.clients == 0 && shared_.none_left) shared_.none_left();
}

void Worker::add(UniqueFd socket, bool handed_over) {
  const std::string peer = peer_name(socket.get());
  if (draining_ || stopping_) return;
  if (shared_.clients.fetch_add(1) >= shared_.max_clients && !make_room(peer)) {
    client_gone();
    return refuse(peer);
  }
  ++shared_.counters.connections;
  watch_peer(socket.get());
  const bool near = is_local(socket.get());
  auto stream = handed_over ? plain_stream(std::move(socket)) : shared_.make_stream(std::move(socket));
  if (!stream) {
    LOG_WARNING("page server: {}: {}", peer, stream.error().what);
    client_gone();
    return;
  }
  LOG_INFO("page server: {} has connected", peer);
  SessionOptions options = {.peer = peer, .near = near, .compress = shared_.compress};
  auto connection = std::make_unique<Connection>(*this, std::move(*stream), shared_.sources, std::move(options));
  Connection& added = *connection;
  connections_.emplace(&added, std::move(connection));
  if (!handed_over) added.stranger = shared_.strangers.add(*this);
  added.start();
}

void Worker::on_told(int, uint32_t) {
  const unsigned orders = orders_.exchange(0);
  if (orders & kAdopt) {
    std::vector<UniqueFd> adopted;
    {
      std::lock_guard lock(mutex_);
      adopted.swap(adopted_);
    }
    for (UniqueFd& socket : adopted) add(std::move(socket), true);
  }
  if (orders & kErrand) take_errands();
  if (orders & kPutOut) take_put_out();
  if ((orders & (kDrain | kStop)) && accepting_) ring.cancel(accepted_);
  if (orders & kDrain) draining_ = true;
  if (orders & kStop) stopping_ = true;
  for (const auto& [connection, owner] : connections_) {
    if (orders & kRevoke) connection->revoke();
    if (orders & kStop) connection->end("");
    else if (orders & kDrain) connection->drain();
  }
  ring.read(wake_.get(), &wake_value_, sizeof wake_value_, 0, told_);
}

void Worker::on_tick(int, uint32_t) {
  const auto now = std::chrono::steady_clock::now();
  for (const auto& [connection, owner] : connections_) connection->check_time(now);
  accept_more();
  ring.after(kTick, tick_);
}

}  // namespace faultline::pageserver
