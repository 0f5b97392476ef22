#include "core/dump/handover.h"

#include <signal.h>
#include <sys/eventfd.h>
#include <fcntl.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <thread>

using namespace faultline;
using dump::Handover;
using Stage = Handover::Stage;

namespace {

struct Fixture {
  explicit Fixture(Handover::Patience patience = {}) {
    handover = *Handover::make({.hold = [this]() -> Result<void> { ++held; return {}; }, .end = [this] { ++ended; }, .revoke = [this] { ++asked; if (on_revoke) on_revoke(); }}, patience);
  }
  Stage wait(int stop = -1) { return handover->wait(stop, why); }

  int held = 0, ended = 0, asked = 0;
  std::function<void()> on_revoke;
  std::unique_ptr<Handover> handover;
  std::string why;
};

// What a signalfd with so many signals looks like to who waits for it.
struct Signals {
  explicit Signals(int count) {
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0);
    read_end.reset(ends[0]), write_end.reset(ends[1]);
    char signal[128] = {SIGTERM};
    for (int i = 0; i < count; ++i) REQUIRE(::write(ends[1], signal, sizeof signal) == sizeof signal);
  }
  int fd() const { return read_end.get(); }
  UniqueFd read_end, write_end;
};

constexpr Handover::Patience kHurry = {.before = std::chrono::milliseconds(1), .after = std::chrono::milliseconds(1)};

}  // namespace

TEST_CASE("a server that does not work any more ends the offer: before COMMIT the program is kept, after it nobody knows") {
  for (const bool committed : {false, true}) {
    auto handover = Handover::make({.hold = [] { return Result<void>(); }, .end = [] {}, .revoke = [] {}}, {});
    REQUIRE(handover);
    REQUIRE((*handover)->opened(1));
    if (committed) REQUIRE((*handover)->commit(1));
    (*handover)->unreachable();
    std::string why;
    CHECK((*handover)->wait(-1, why) == (committed ? Handover::Stage::kUnknown : Handover::Stage::kKept));
    CHECK(why.find("cannot be served") != why.npos);
  }
}

TEST_CASE("a client takes the program over") {
  Fixture f;
  CHECK(f.handover->opened(7));
  CHECK(f.handover->opened(7));
  CHECK(f.handover->opened(8).error().code == EBUSY);
  CHECK(f.handover->done(7).error().code == EPROTO);
  CHECK(f.handover->commit(8).error().code == EBUSY);
  CHECK(f.handover->commit(7));
  CHECK(f.handover->commit(7));
  CHECK(f.held == 1);
  CHECK(f.handover->done(7));
  CHECK(f.handover->done(7));
  CHECK(f.ended == 1);
  CHECK(f.wait() == Stage::kGone);
  CHECK(f.why.empty());
}

TEST_CASE("a client that is lost before COMMIT makes room, and is waited for a moment") {
  Fixture f(kHurry);
  CHECK(f.handover->opened(7));
  f.handover->closed(7);
  CHECK(f.handover->opened(8));
  CHECK(f.handover->commit(7).error().code == EBUSY);
  f.handover->closed(7);  // it has none; nothing changes
  f.handover->closed(8);
  CHECK(f.wait() == Stage::kKept);
  CHECK(!f.why.empty());
  CHECK(f.handover->commit(8).error().code == ECANCELED);
  CHECK(f.held == 0);
}

TEST_CASE("a client that is lost after COMMIT may come back") {
  Fixture f({.before = {}, .after = std::chrono::seconds(60)});
  CHECK(f.handover->opened(7));
  CHECK(f.handover->commit(7));
  f.handover->closed(7);
  std::thread client([&] {
    CHECK(f.handover->opened(8).error().code == EBUSY);
    CHECK(f.handover->opened(7));
    CHECK(f.handover->done(7));
  });
  CHECK(f.wait() == Stage::kGone);
  client.join();
}

TEST_CASE("a client that stays away after COMMIT leaves it unknown who may run") {
  Fixture f(kHurry);
  CHECK(f.handover->opened(7));
  CHECK(f.handover->commit(7));
  f.handover->closed(7);
  CHECK(f.wait() == Stage::kUnknown);
  CHECK(f.handover->done(7).error().code == ECANCELED);
  CHECK(f.ended == 0);
}

TEST_CASE("a signal keeps the program before COMMIT, and asks for it after") {
  Fixture before;
  CHECK(before.handover->opened(7));
  CHECK(before.wait(Signals(1).fd()) == Stage::kKept);
  CHECK(before.asked == 0);

  Fixture after;
  after.on_revoke = [&] { after.handover->revoked(7); };
  CHECK(after.handover->opened(7));
  CHECK(after.handover->commit(7));
  CHECK(after.wait(Signals(1).fd()) == Stage::kKept);
  CHECK(after.asked == 1);

  Fixture done;  // that had been said before the question arrived
  done.on_revoke = [&] { CHECK(done.handover->done(7)); };
  CHECK(done.handover->opened(7));
  CHECK(done.handover->commit(7));
  CHECK(done.wait(Signals(1).fd()) == Stage::kGone);
}

TEST_CASE("a client may give back unasked what it has taken over") {
  Fixture f;
  CHECK(f.handover->opened(7));
  f.handover->revoked(7);  // nothing was given yet
  CHECK(f.handover->stage() == Stage::kOpen);
  CHECK(f.handover->commit(7));
  f.handover->revoked(8);
  CHECK(f.handover->stage() == Stage::kCommitted);
  f.handover->revoked(7);
  CHECK(f.wait() == Stage::kKept);
  CHECK(f.why.find("given the processes back") != f.why.npos);
  CHECK(f.handover->done(7).error().code == ECANCELED);
  CHECK(f.ended == 0);
}

TEST_CASE("the same signal to both of our processes is one") {
  Fixture f;
  f.on_revoke = [&] { f.handover->revoked(7); };
  CHECK(f.handover->opened(7));
  CHECK(f.handover->commit(7));
  Signals queue(2);
  CHECK(f.wait(queue.fd()) == Stage::kKept);
}

TEST_CASE("no answer, or a second signal, leaves it unknown who may run") {
  for (int signals : {1, 2}) {
    Fixture f(signals == 1 ? kHurry : Handover::Patience{.one_signal = {}});
    CHECK(f.handover->opened(7));
    CHECK(f.handover->commit(7));
    Signals queue(signals);
    CHECK(f.wait(queue.fd()) == Stage::kUnknown);
    f.handover->revoked(7);
    CHECK(f.handover->stage() == Stage::kUnknown);
  }
  Fixture criu;
  CHECK(criu.handover->opened(Handover::kCriuClient));
  CHECK(criu.handover->commit(Handover::kCriuClient));
  CHECK(criu.wait(Signals(1).fd()) == Stage::kUnknown);
  CHECK(criu.asked == 0);
}
