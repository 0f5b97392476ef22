#pragma once

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "core/base/result.h"
#include "core/base/unique_fd.h"

namespace faultline::dump {

// Who has the right to let a program run: the host of the dump, or a client that makes it again elsewhere (pageserver/PROTOCOL.md, section 5).
// Decides, once and for all, when two want different things at the same moment. The sessions of a server tell from their threads what the
// client wants; one thread, the tracer's, waits for the outcome.
//
//   open ──COMMIT──> committed ──DONE──> gone              the client's copy runs, the program here is of no use
//     │                  │──SIGTERM──> revoking ──REVOKED──> kept
//     │                  ├──REVOKED──> kept
//     │                  └──client lost──────┴──no answer──> unknown
//     └──SIGTERM, client lost──> kept
class Handover {
 public:
  using Clock = std::chrono::steady_clock;
  enum class Stage { kOpen, kCommitted, kRevoking, kGone, kKept, kUnknown };

  // A client that speaks CRIU's protocol has no number, and no way to say what is in section 5. Its first GET counts as COMMIT, its CLOSE as DONE.
  static constexpr uint64_t kCriuClient = 0;

  struct Actions {
    std::function<Result<void>()> hold;  // at COMMIT, before it is answered: the program must not run on should we die
    std::function<void()> end;           // at DONE, before it is answered: kills the program, unless it is to stay stopped
    std::function<void()> revoke;        // sends REVOKE to the client
  };
  struct Patience {
    std::chrono::milliseconds before = std::chrono::seconds(2);   // for a client that is lost before COMMIT
    std::chrono::milliseconds after = std::chrono::seconds(60);   // after it, and for the answer to REVOKE
    // Signals that come so close together are one: whoever signals both of our processes is heard twice, as the one in front passes it on.
    std::chrono::milliseconds one_signal{2000};
  };

  static Result<std::unique_ptr<Handover>> make(Actions actions, Patience patience);

  // --- Any thread. An error is what the client is told.

  // A connection has named its client, which then is the only one, until it is lost before COMMIT. Errors: EBUSY, ECANCELED.
  Result<void> opened(uint64_t client);
  void closed(uint64_t client);
  Result<void> commit(uint64_t client);
  Result<void> done(uint64_t client);
  void revoked(uint64_t client);
  // Nobody can come any more: the server does not work.
  void unreachable();
  Stage stage() const;

  // --- One thread

  // Returns kGone, kKept or kUnknown; from then on nothing changes. `stop` is a signalfd: the first signal takes the program back, the
  // second one stops waiting for the client. -1: none. `why` gets what a person is to be told of any other end than kGone.
  Stage wait(int stop, std::string& why);

 private:
  Handover(Actions actions, Patience patience, UniqueFd changed) : actions_(std::move(actions)), patience_(patience), changed_(std::move(changed)) {}
  bool is_over() const { return stage_ >= Stage::kGone; }
  Result<void> check_client(uint64_t client) const;
  void wake() const;
  std::optional<Clock::time_point> deadline() const;
  void out_of_time(std::string& why);
  bool signalled(std::string& why);

  const Actions actions_;
  const Patience patience_;
  const UniqueFd changed_;  // an eventfd

  mutable std::mutex mutex_;  // guards what follows
  Stage stage_ = Stage::kOpen;
  std::optional<uint64_t> client_;
  int connections_ = 0;
  bool unreachable_ = false;
  Clock::time_point lost_since_{};  // valid while there is a client without a connection
  Clock::time_point revoked_at_{};
};

}  // namespace faultline::dump
