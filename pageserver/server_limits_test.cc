// What a server bears of clients that want too much, and how it says so.
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>

#include "core/image/captured_log.h"
#include "pageserver/test_server.h"

namespace faultline::pageserver {
namespace {

// So many connections of another process, with descriptors of its own, which say nothing. Ended with it.
class Flood {
 public:
  Flood(const Served& served, int connections) {
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    end_ = UniqueFd(ends[1]);
    pid_ = ::fork();
    REQUIRE(pid_ >= 0);
    if (pid_ != 0) {
      ::close(ends[0]);
      return;
    }
    ::close(ends[1]);
    for (int i = 0; i < connections; ++i) (void)served.connect().release();
    char c;
    (void)!::read(ends[0], &c, 1);
    ::_exit(0);
  }
  ~Flood() {
    end_.reset();
    ::waitpid(pid_, nullptr, 0);
  }

 private:
  UniqueFd end_;
  pid_t pid_;
};

TEST_CASE("a flood of connections leaves descriptors for the pages of others") {
  rlimit before;
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
  const rlimit few = {200, before.rlim_max};
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &few) == 0);
  {
    const image::CapturedLog log;
    Served served;
    CHECK(log.has("no more than 136 clients are served at a time, not 1024: only 200 files can be open"));
    Client client = served.client();
    REQUIRE(client.wait_ready(10s));
    const Flood flood(served, 180);
    while (served.server().counters().refused == 0) std::this_thread::yield();
    Inbox inbox;
    const Range one[] = {range_of(kTask, 16, 1)};
    client.read(one, true);  // the first of this object: its pagemap and pages are opened for it
    REQUIRE(client.wait(10s, inbox.events, [&] { return !inbox.pages.empty() || !inbox.failures.empty(); }));
    CHECK(inbox.failures.empty());
    CHECK(log.has("is refused: there are 136 clients already"));
  }
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &before) == 0);
}

TEST_CASE("a server that is short of descriptors says so, and gives the page when it has some") {
  rlimit before;
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
  const image::CapturedLog log;
  Served served;
  Client client = served.client();
  Inbox inbox;
  REQUIRE(client.wait_ready(10s));
  const rlimit none = {1, before.rlim_max};  // poll(2) takes no more entries than this
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &none) == 0);
  const Range one[] = {range_of(kTask, 16, 1)};
  client.read(one, true);
  const auto failed = client.wait(10s, inbox.events, [&] { return !inbox.failures.empty(); });
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &before) == 0);
  REQUIRE(failed);
  CHECK(is_passing(inbox.failures[0].code));
  CHECK(log.has("cannot be answered for the moment"));
  CHECK(log.has("Too many open files; raise the limit of open files"));
  client.read(one, true);
  REQUIRE(client.wait(10s, inbox.events, [&] { return !inbox.pages.empty(); }));
}

}  // namespace
}  // namespace faultline::pageserver
