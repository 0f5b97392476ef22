#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "lazy/fault_server.h"
#include "lazy/pace.h"
#include "pageserver/client.h"

namespace faultline::lazy {

// What becomes of the restored processes when a page that they wait for does not come for RemoteOptions::page_timeout.
enum class OnPageLoss { kStop, kKill };

// How pages that are not in the images are reached.
struct RemoteOptions {
  // Begins a connection, which may still be in the making. Called again whenever one was lost, from any thread.
  std::function<Result<std::unique_ptr<pageserver::Stream>>()> connect;
  pageserver::ClientOptions client;
  // A connection for what is done before the pager runs; made by connect_first(). The first pager goes on with it for pages that somebody
  // waits for, which spares the first of them the making of a connection: four ways there and back with TLS.
  std::unique_ptr<pageserver::Client> first;
  std::chrono::milliseconds page_timeout = std::chrono::seconds(60);
  OnPageLoss on_loss = OnPageLoss::kStop;
  // There can be no connection but `first`: connect() works once, or the server speaks CRIU's protocol and takes one connection.
  bool single = false;
  bool live = false;  // the source is a frozen process, to be told when all is done
  std::string name;   // of the server, for messages

  // Makes the first connection, and learns who is there. Errors: those of the connection, ENOENT if there is no such checkpoint.
  Result<void> connect_first();
  // Asks a live source for the right to let the processes run here. After an error nobody knows who has it, and they must not run.
  Result<void> commit();
  // The pager, a process of its own, has `first` now: our descriptor is closed, so that the server sees when the pager's is.
  void hand_over() { first.reset(); }
};

// One connection of the pager to the page server: what was asked for, and by whom, what comes, and what to do when it breaks. Connects anew
// with growing pauses, and asks again for all that has not come. One thread: the worker that it belongs to.
class RemotePort {
 public:
  struct Waiter {
    Space* space;
    Vaddr address;
    uint64_t since_ns;  // when the fault was read
  };
  struct Hooks {
    // The page of this waiter is in place.
    std::function<void(const Waiter&)> served;
    // The page of this waiter has come, but it may be somewhere else by now: serve it again.
    std::function<void(const Waiter&)> again;
    // The page of this waiter will never come.
    std::function<void(const Waiter&, const std::string& reason)> fail;
    // Messages must be read before pages can be put in.
    std::function<void()> drain;
    // Somebody has waited for a page too long / pages come again.
    std::function<void(bool lost)> lost;
    std::function<void()> revoked;
  };

  // Watches itself in `epoll`, with `this` as the event's pointer. `slot`: where the number of the descriptor is noted for a successor.
  // `open`: a connection to begin with, or nullptr. `pace`: told of the pages that somebody waits for, which come by one port only; it limits what is
  // asked for ahead.
  RemotePort(const RemoteOptions& options, std::unique_ptr<pageserver::Client> open, Pace& pace, const Memory& memory, FaultServer& server, Hooks hooks, int epoll,
             std::atomic<int>& slot);
  ~RemotePort();
  RemotePort(const RemotePort&) = delete;

  // A thread waits for the first of the pages that are wanted.
  void demand(const Wanted& wanted, const Waiter& waiter);
  // Pages that nobody waits for yet. Pages that were asked for before are left out.
  void ahead(const Wanted& wanted);
  // So many pages more should be asked for ahead, to keep the way to the server full; 0 also if they are too few to be worth a request.
  // `contended`: somebody waits for other pages.
  uint64_t room(bool contended) const {
    const uint64_t most = contended ? std::min(pace_.pages(), ahead_pace_.pages()) : ahead_pace_.pages();
    const uint64_t left = most - std::min(most, ahead_pages_);
    return left >= std::min(most, kRemoteRun) / 4 ? left : 0;
  }
  // Nothing is awaited. A live source is not left without a connection: it would give up, and could not take its processes back.
  bool idle() const { return asked_.empty() && retries_.empty() && (client_ || !options_.live); }
  bool has_pending() const { return client_ && client_->has_pending(); }
  // Takes in what has come, about `budget` bytes; `step` pages are put in by one call of the kernel. True: there may be more at once.
  bool step(size_t budget, uint64_t step);
  // Sends what was asked for since the last time.
  void flush();
  // Looks at the clock: to be called every kTick while it is not idle.
  void tick();
  static constexpr auto kTick = std::chrono::milliseconds(100);

  // The connection, to say goodbye; nullptr if there is none.
  pageserver::Client* client() { return client_.get(); }

 private:
  using Clock = std::chrono::steady_clock;
  // What is on its way when the first fault comes has to be waited for, on a thin network.
  static constexpr auto kAheadSlack = std::chrono::milliseconds(50);
  // A range that was asked for and has not come completely.
  struct Asked {
    uint64_t pages;
    uint64_t come = 0;
    uint64_t request = 0;
    bool urgent = false;
    bool alone = false;  // was refused together with others, and is asked for by itself now
    Clock::time_point since;  // when it was wanted, or somebody began to wait for it
    Clock::time_point sent;   // when it was asked for, the last time
    std::vector<std::pair<Vaddr, Waiter>> waiters;  // with the origin of the page that each waits for
  };
  using Key = std::pair<uint32_t, Vaddr>;  // index, origin of the first page
  struct Retry {
    PageName first;
    uint64_t pages;
    std::vector<std::byte> contents;  // empty: zeros
    bool urgent;
  };

  void ask(const Wanted& wanted, const Waiter* waiter);
  std::map<Key, Asked>::iterator covering(PageName page);
  void send_batch();
  void connect();
  void broken(const Error& why);
  void watch();
  void come(const pageserver::Range& range, std::span<const std::byte> contents);
  void put(PageName first, uint64_t pages, std::span<const std::byte> contents, bool urgent);
  void settle(PageName first, uint64_t pages);
  void retry();
  void refused(uint64_t request, const pageserver::Failed& failed);
  void postpone(std::vector<Key> keys, const pageserver::Failed& failed);
  void release(Asked& asked, uint32_t index, Vaddr start, Vaddr end);
  void release(const Waiter& waiter, PageName page);
  void found_again();
  void look_for_loss(Clock::time_point now);

  const RemoteOptions& options_;
  Pace& pace_;
  Pace ahead_pace_{kAheadSlack, Pace::kMost};
  const Memory& memory_;
  FaultServer& server_;
  Hooks hooks_;
  int epoll_;
  std::atomic<int>& slot_;
  std::unique_ptr<pageserver::Client> client_;
  pageserver::ClientEvents events_;
  uint32_t watched_ = 0;
  std::map<pageserver::ObjectId, uint32_t> indexes_;
  std::map<Key, Asked> asked_;
  uint64_t ahead_pages_ = 0;   // of asked_ without a waiter
  std::vector<Key> unsent_[2];  // [urgent], keys of asked_ that are not in a request yet
  std::vector<Retry> retries_;
  std::vector<Key> postponed_;  // the server could not answer them for the moment
  Clock::time_point ask_again_, tell_of_refusal_;
  std::chrono::milliseconds refusal_pause_{0};
  uint64_t step_ = 16;
  Clock::time_point next_try_, next_tick_;
  std::chrono::milliseconds pause_{0};
  bool ever_ = false, lost_ = false;
};

}  // namespace faultline::lazy
