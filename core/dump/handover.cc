#include "core/dump/handover.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

namespace faultline::dump {

namespace {

int milliseconds_until(Handover::Clock::time_point when) {
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(when - Handover::Clock::now()).count();
  return static_cast<int>(std::clamp<int64_t>(left, 0, 1'000'000));
}

}  // namespace

Result<std::unique_ptr<Handover>> Handover::make(Actions actions, Patience patience) {
  UniqueFd changed(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!changed) return sys_error("eventfd");
  return std::unique_ptr<Handover>(new Handover(std::move(actions), patience, std::move(changed)));
}

void Handover::wake() const {
  const uint64_t one = 1;
  (void)!::write(changed_.get(), &one, sizeof one);
}

Handover::Stage Handover::stage() const {
  const std::lock_guard lock(mutex_);
  return stage_;
}

Result<void> Handover::check_client(uint64_t client) const {
  if (is_over()) return error(ECANCELED, "the processes are not offered any more");
  if (client_ != client) return error(EBUSY, "the processes are given to one client only, and there is another one");
  return {};
}

Result<void> Handover::opened(uint64_t client) {
  const std::lock_guard lock(mutex_);
  if (stage_ == Stage::kOpen && connections_ == 0) client_ = client;
  TRY(check_client(client));
  ++connections_;
  wake();
  return {};
}

void Handover::closed(uint64_t client) {
  const std::lock_guard lock(mutex_);
  if (client_ != client || --connections_ > 0) return;
  lost_since_ = Clock::now();
  wake();
}

Result<void> Handover::commit(uint64_t client) {
  const std::lock_guard lock(mutex_);
  TRY(check_client(client));
  if (stage_ == Stage::kCommitted) return {};  // asked again, because the answer was lost
  if (stage_ != Stage::kOpen) return error(ECANCELED, "the processes are being taken back");
  TRY(actions_.hold());
  stage_ = Stage::kCommitted;
  wake();
  return {};
}

Result<void> Handover::done(uint64_t client) {
  const std::lock_guard lock(mutex_);
  if (stage_ == Stage::kGone && client_ == client) return {};
  TRY(check_client(client));
  if (stage_ == Stage::kOpen) return error(EPROTO, "DONE without COMMIT: nothing was handed over");
  // Also in kRevoking: what the client has done, it has done.
  actions_.end();
  stage_ = Stage::kGone;
  wake();
  return {};
}

void Handover::revoked(uint64_t client) {
  const std::lock_guard lock(mutex_);
  // Unasked, the client gives back what it has taken over and does not run.
  if ((stage_ != Stage::kRevoking && stage_ != Stage::kCommitted) || client_ != client) return;
  stage_ = Stage::kKept;
  wake();
}

void Handover::unreachable() {
  const std::lock_guard lock(mutex_);
  unreachable_ = true;
  wake();
}

std::optional<Handover::Clock::time_point> Handover::deadline() const {
  if (unreachable_) return Clock::time_point();
  if (stage_ == Stage::kRevoking) return revoked_at_ + patience_.after;
  if (!client_ || connections_ > 0) return std::nullopt;
  return lost_since_ + (stage_ == Stage::kOpen ? patience_.before : patience_.after);
}

void Handover::out_of_time(std::string& why) {
  if (unreachable_) {
    why = "memory cannot be served any more; the log says why";
    stage_ = stage_ == Stage::kOpen ? Stage::kKept : Stage::kUnknown;
    return;
  }
  if (stage_ == Stage::kOpen) {
    why = "the client has gone before it took the processes over";
    stage_ = Stage::kKept;
    return;
  }
  why = stage_ == Stage::kRevoking ? "the client does not say that it has given the processes back" : "the client has gone without saying that it has all memory";
  stage_ = Stage::kUnknown;
}

// True if REVOKE is to be sent.
bool Handover::signalled(std::string& why) {
  if (stage_ == Stage::kOpen) {
    stage_ = Stage::kKept;
    return false;
  }
  if (stage_ == Stage::kRevoking && Clock::now() - revoked_at_ < patience_.one_signal) return false;
  if (stage_ == Stage::kRevoking || client_ == kCriuClient) {
    if (stage_ != Stage::kRevoking) why += "; there is no way to ask the client, which speaks CRIU's protocol, for the processes";
    stage_ = Stage::kUnknown;
    return false;
  }
  stage_ = Stage::kRevoking;
  revoked_at_ = Clock::now();
  return true;
}

Handover::Stage Handover::wait(int stop, std::string& why) {
  for (;;) {
    int timeout = -1;
    {
      const std::lock_guard lock(mutex_);
      const auto until = deadline();
      if (!is_over() && until && *until <= Clock::now()) out_of_time(why);
      if (is_over()) {
        if (stage_ == Stage::kKept && why.empty()) why = "the client has given the processes back";
        return stage_;
      }
      if (until) timeout = milliseconds_until(*until);
    }
    pollfd either[] = {{changed_.get(), POLLIN, 0}, {stop, POLLIN, 0}};
    if (::poll(either, 2, timeout) <= 0) continue;
    uint64_t count;
    (void)!::read(changed_.get(), &count, sizeof count);
    if (!either[1].revents) continue;
    signalfd_siginfo signal = {};
    (void)!::read(stop, &signal, sizeof signal);
    bool ask = false;
    {
      const std::lock_guard lock(mutex_);
      if (is_over()) continue;
      if (stage_ != Stage::kRevoking) why = fmt::format("given up on SIG{}", ::sigabbrev_np(static_cast<int>(signal.ssi_signo)));
      ask = signalled(why);
    }
    if (ask) actions_.revoke();
  }
}

}  // namespace faultline::dump
