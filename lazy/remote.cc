#include "lazy/remote.h"

#include <poll.h>
#include <sys/epoll.h>

#include <algorithm>
#include <shared_mutex>

#include "core/base/log.h"

namespace faultline::lazy {

namespace {

constexpr auto kFirstPause = std::chrono::milliseconds(50), kLongestPause = std::chrono::milliseconds(2000);
constexpr auto kHelloPatience = std::chrono::seconds(15);
constexpr auto kPeerPatience = std::chrono::seconds(60);
constexpr auto kTellAgain = std::chrono::seconds(60);  // of a server that cannot answer for the moment

std::chrono::milliseconds next_pause(std::chrono::milliseconds pause) { return pause.count() == 0 ? kFirstPause : std::min(pause * 2, kLongestPause); }

}  // namespace

Result<void> RemoteOptions::connect_first() {
  auto connected = [&]() -> Result<pageserver::Client> {
    auto client = TRY(pageserver::Client::start(TRY(connect()), this->client));
    TRY(client.wait_ready(kHelloPatience));
    return client;
  }();
  if (!connected) return wrap(connected.error(), "the page server {}", name);
  first = std::make_unique<pageserver::Client>(std::move(*connected));
  single |= first->speaks_criu();
  if (single) {
    // The end of the only connection is final: it is kept through any silence that the program is to survive.
    first->set_patience(std::max(client.patience, page_timeout));
    pageserver::watch_peer(first->fd(), std::max<std::chrono::milliseconds>(kPeerPatience, page_timeout));
  }
  live = first->live();
  return {};
}

Result<void> RemoteOptions::commit() {
  if (!live) return {};
  const auto taken = first->commit(page_timeout);
  if (taken) return {};
  return error(taken.error().code, "the source {} has not said that the processes may run here: {}. They are given up here; should those there be stopped now, they may go on: kill -CONT",
               name, taken.error().what);
}

RemotePort::RemotePort(const RemoteOptions& options, std::unique_ptr<pageserver::Client> open, Pace& pace, const Memory& memory, FaultServer& server, Hooks hooks,
                       int epoll, std::atomic<int>& slot)
    : options_(options),
      pace_(pace),
      memory_(memory),
      server_(server),
      hooks_(std::move(hooks)),
      epoll_(epoll),
      slot_(slot),
      client_(std::move(open)),
      ever_(client_ != nullptr) {
  for (uint32_t i = 0; i < memory.indexes.size(); ++i) indexes_.try_emplace(memory.indexes[i].object, i);
  events_.pages = [this](const pageserver::Range& range, std::span<const std::byte> contents) { come(range, contents); };
  events_.failed = [this](uint64_t id, const pageserver::Failed& failed) { refused(id, failed); };
  events_.revoked = [this] { hooks_.revoked(); };
  if (client_) watch();
}

RemotePort::~RemotePort() {
  if (client_ && !options_.single) client_->close();  // the end of a single one is told with what became of the processes
  slot_ = -1;
  count_down(server_.counters().queued, asked_.size());
}

// The range that was asked for and holds the page.
std::map<RemotePort::Key, RemotePort::Asked>::iterator RemotePort::covering(PageName page) {
  auto it = asked_.upper_bound({page.index, page.origin});
  if (it == asked_.begin()) return asked_.end();
  --it;
  const bool holds = it->first.first == page.index && page.origin < it->first.second + it->second.pages * kPageSize;
  return holds ? it : asked_.end();
}

void RemotePort::demand(const Wanted& wanted, const Waiter& waiter) { ask(wanted, &waiter); }
void RemotePort::ahead(const Wanted& wanted) { ask(wanted, nullptr); }

void RemotePort::ask(const Wanted& wanted, const Waiter* waiter) {
  // The time of silence begins with the first question.
  if (asked_.empty() && client_) client_->begin_waiting();
  PageName page = wanted.first;
  const Vaddr end = page.origin + wanted.length;
  while (page.origin < end) {
    auto it = covering(page);
    if (it == asked_.end()) {
      const auto next = asked_.upper_bound({page.index, page.origin});
      const Vaddr stop = next != asked_.end() && next->first.first == page.index ? std::min(end, next->first.second) : end;
      it = asked_.emplace(Key(page.index, page.origin), Asked{.pages = (stop - page.origin) / kPageSize, .urgent = waiter != nullptr, .since = Clock::now(), .sent = {}, .waiters = {}}).first;
      unsent_[waiter != nullptr].push_back(it->first);
      count(server_.counters().queued);
      if (!waiter) ahead_pages_ += it->second.pages;
    }
    if (waiter && page.origin == wanted.first.origin) {
      if (it->second.waiters.empty()) it->second.since = Clock::now();
      it->second.waiters.emplace_back(page.origin, *waiter);
      // It has come, but not for this one: a child, for example, that was forked meanwhile. So it is asked for again.
      if (const uint64_t before = (page.origin - it->first.second) / kPageSize; before < it->second.come) {
        it->second.come = before;
        unsent_[it->second.urgent].push_back(it->first);
      }
    }
    page.origin = it->first.second + it->second.pages * kPageSize;
  }
}

void RemotePort::send_batch() {
  for (const bool urgent : {true, false}) {
    std::vector<Key>& keys = unsent_[urgent];
    for (size_t done = 0; done < keys.size();) {
      std::vector<pageserver::Range> ranges;
      std::vector<Asked*> asked;
      uint64_t pages = 0;
      for (; done < keys.size() && ranges.size() < pageserver::kMaxRanges; ++done) {
        const auto it = asked_.find(keys[done]);
        if (it == asked_.end()) continue;
        const uint64_t left = it->second.pages - it->second.come;
        if (left == 0) continue;
        if (pages + left > pageserver::kMaxReadPages || (it->second.alone && !ranges.empty())) break;
        pages += left;
        ranges.push_back({memory_.indexes[it->first.first].object, it->first.second + it->second.come * kPageSize, left});
        asked.push_back(&it->second);
        if (it->second.alone) {
          ++done;
          break;
        }
      }
      if (ranges.empty()) break;
      const uint64_t id = client_->read(ranges, urgent);
      const auto now = Clock::now();
      for (Asked* a : asked) a->request = id, a->sent = now;
    }
    keys.clear();
  }
}

void RemotePort::flush() {
  if (!client_) {
    if (!idle() && Clock::now() >= next_try_) connect();
    if (!client_) return;
  }
  if (!postponed_.empty() && Clock::now() >= ask_again_)
    for (const Key& key : std::exchange(postponed_, {}))
      if (const auto it = asked_.find(key); it != asked_.end()) unsent_[it->second.urgent].push_back(key);
  send_batch();
  if (auto sent = client_->flush(); !sent) return broken(sent.error());
  watch();
}

void RemotePort::connect() {
  auto stream = options_.connect();
  auto client = stream ? pageserver::Client::start(std::move(*stream), options_.client) : Result<pageserver::Client>(Failure(stream.error()));
  if (!client) return broken(client.error());
  client_ = std::make_unique<pageserver::Client>(std::move(*client));
  // All that has not come is asked for again.
  for (auto& keys : unsent_) keys.clear();
  postponed_.clear();
  for (const auto& [key, asked] : asked_) unsent_[asked.urgent].push_back(key);
  if (ever_) count(server_.counters().reconnects);
  ever_ = true;
}

void RemotePort::broken(const Error& why) {
  const bool was_ready = client_ && client_->ready();
  if (was_ready || pause_.count() == 0) LOG_WARNING("pager: the page server {}: {}; connecting again", options_.name, why.what);
  slot_ = -1;  // before the number may mean something else
  client_.reset();
  watched_ = 0;
  pause_ = was_ready ? kFirstPause : next_pause(pause_);
  next_try_ = Clock::now() + pause_;
}

void RemotePort::watch() {
  const short wanted = client_->wanted_events();
  const uint32_t events = (wanted & POLLIN ? EPOLLIN : 0u) | (wanted & POLLOUT ? EPOLLOUT : 0u);
  const int fd = client_->fd();
  // As long as it is being made, the descriptor may change, and another one may have the same number.
  if (fd < 0 || (client_->ready() && events == watched_)) return;
  epoll_event event = {.events = events, .data = {.ptr = this}};
  if (::epoll_ctl(epoll_, EPOLL_CTL_MOD, fd, &event) != 0 && ::epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) != 0)
    LOG_ERROR("pager: cannot watch the connection to the page server {}: {}", options_.name, errno_text(errno));
  watched_ = events;
  slot_ = fd;
}

bool RemotePort::step(size_t budget, uint64_t step) {
  step_ = step;
  if (!retries_.empty()) retry();
  if (!client_) return false;
  const auto more = client_->receive(budget, events_);
  if (!more) {
    broken(more.error());
    return false;
  }
  if (client_->ready()) pause_ = std::chrono::milliseconds(0);
  flush();
  return *more;
}

void RemotePort::come(const pageserver::Range& range, std::span<const std::byte> contents) {
  const auto index = indexes_.find(range.object);
  if (index == indexes_.end()) return;
  refusal_pause_ = std::chrono::milliseconds(0);
  const auto it = covering({index->second, range.address});
  const bool urgent = it != asked_.end() && it->second.urgent;
  PagerCounters& counters = server_.counters();
  count(urgent ? counters.bytes_demand : counters.bytes_bulk, contents.size());
  put({index->second, range.address}, range.pages, contents, urgent);
}

void RemotePort::put(PageName first, uint64_t pages, std::span<const std::byte> contents, bool urgent) {
  const std::byte* const from = contents.empty() ? nullptr : contents.data();
  if (server_.put(first, pages, from, step_, urgent) == FaultServer::Outcome::kRetry) {
    hooks_.drain();
    if (server_.put(first, pages, from, step_, urgent) == FaultServer::Outcome::kRetry) {
      // The process that caused the event must get to run first. The connection goes on meanwhile.
      retries_.push_back({first, pages, {contents.begin(), contents.end()}, urgent});
      return;
    }
  }
  settle(first, pages);
}

void RemotePort::retry() {
  std::vector<Retry> again = std::exchange(retries_, {});
  hooks_.drain();
  for (Retry& r : again) put(r.first, r.pages, r.contents, r.urgent);
}

// The pages are in place: whoever waits for them goes on.
void RemotePort::settle(PageName first, uint64_t pages) {
  const Vaddr end = first.origin + pages * kPageSize;
  for (Vaddr at = first.origin; at < end;) {
    const auto it = covering({first.index, at});
    if (it == asked_.end()) {
      const auto next = asked_.upper_bound({first.index, at});
      if (next == asked_.end() || next->first.first != first.index) return;
      at = next->first.second;
      continue;
    }
    auto& [key, asked] = *it;
    const Vaddr stop = key.second + asked.pages * kPageSize;
    asked.come = std::max(asked.come, (std::min(end, stop) - key.second) / kPageSize);
    release(asked, key.first, at, std::min(end, stop));
    // With waiters, it has parts that are still to be put in.
    if (asked.come == asked.pages && asked.waiters.empty()) {
      const auto now = Clock::now();
      (asked.urgent ? pace_ : ahead_pace_).came(now - asked.sent, now);
      if (!asked.urgent) ahead_pages_ -= asked.pages;
      asked_.erase(it);
      count_down(server_.counters().queued);
    }
    at = stop;
  }
  if (std::exchange(lost_, false)) found_again();
}

// Not when a connection is made: a server that takes connections and gives nothing is lost all the same. The other pages were waited for too long as
// well, and would be lost again at the next tick, while a slow network brings them.
void RemotePort::found_again() {
  const auto now = Clock::now();
  for (auto& [key, asked] : asked_) asked.since = now;
  hooks_.lost(false);
}

void RemotePort::release(Asked& asked, uint32_t index, Vaddr start, Vaddr end) {
  std::erase_if(asked.waiters, [&](const auto& waits) {
    const auto& [origin, waiter] = waits;
    if (origin < start || origin >= end) return false;
    release(waiter, {index, origin});
    return true;
  });
}

// A copy wakes who waits at the place where it put the page. Whoever waits elsewhere, because the memory was moved, is served again.
void RemotePort::release(const Waiter& waiter, PageName page) {
  bool here;
  {
    std::shared_lock lock(waiter.space->lock());
    here = waiter.space->open() && waiter.space->current_address(page.index, page.origin) == waiter.address;
    if (here) {
      const Segment* const segment = waiter.space->find(waiter.address);
      // Copied for another process that has the same object: the kernel has woken only there.
      if (segment->shared) waiter.space->fd().wake(waiter.address, kPageSize);
    }
  }
  if (here) hooks_.served(waiter);
  else hooks_.again(waiter);
}

// FAILED ends the answer to all ranges of a request, whichever was at fault: each is asked for again, by itself.
void RemotePort::refused(uint64_t request, const pageserver::Failed& failed) {
  std::vector<Key> keys;
  for (const auto& [key, asked] : asked_)
    if (asked.request == request && asked.come < asked.pages) keys.push_back(key);
  if (pageserver::is_passing(failed.code)) return postpone(std::move(keys), failed);
  for (const Key& key : keys) {
    Asked& asked = asked_.at(key);
    if (keys.size() > 1) {
      asked.alone = true;
      unsent_[asked.urgent].push_back(key);
      continue;
    }
    LOG_WARNING("pager: the page server {} has no pages {:#x}-{:#x}: {}", options_.name, key.second, key.second + asked.pages * kPageSize, failed.what);
    const Asked gone = std::move(asked);
    asked_.erase(key);
    count_down(server_.counters().queued);
    if (!gone.urgent) ahead_pages_ -= gone.pages;
    for (const auto& [origin, waiter] : gone.waiters) hooks_.fail(waiter, failed.what);
  }
}

// The server is short of something that may be there soon. Until then it is as if the server were not there.
void RemotePort::postpone(std::vector<Key> keys, const pageserver::Failed& failed) {
  const auto now = Clock::now();
  if (now >= tell_of_refusal_) {
    LOG_WARNING("pager: the page server {} cannot answer for the moment: {}; asking again", options_.name, failed.what);
    tell_of_refusal_ = now + kTellAgain;
  }
  // Several refusals at a time are one.
  if (postponed_.empty()) {
    refusal_pause_ = next_pause(refusal_pause_);
    ask_again_ = now + refusal_pause_;
  }
  postponed_.insert(postponed_.end(), keys.begin(), keys.end());
}

void RemotePort::tick() {
  const auto now = Clock::now();
  if (now < next_tick_) return;
  next_tick_ = now + kTick;
  if (!retries_.empty()) retry();
  if (idle()) return;
  if (client_)
    if (auto alive = client_->keep_alive(now); !alive) broken(alive.error());
  flush();
  look_for_loss(now);
}

void RemotePort::look_for_loss(Clock::time_point now) {
  if (lost_) return;
  for (const auto& [key, asked] : asked_) {
    if (asked.waiters.empty() || now - asked.since < options_.page_timeout) continue;
    LOG_ERROR("pager: a page has been waited for {} ms and the page server {} does not send it", options_.page_timeout.count(), options_.name);
    lost_ = true;
    hooks_.lost(true);
    return;
  }
}

}  // namespace faultline::lazy
