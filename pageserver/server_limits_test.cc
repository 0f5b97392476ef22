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
    CHECK(log.has("all 136 places (--max-clients) are taken: connections that have opened no checkpoint are ended for newcomers"));
  }
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &before) == 0);
}

TEST_CASE("a server that is short of descriptors says so, and gives the page when it has some") {
  rlimit before;
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
  const image::CapturedLog log;
  Served served;
  Client client = served.client({.checkpoint = "a/b"});
  Inbox inbox;
  REQUIRE(client.wait_ready(10s));
  // A page that comes and one that does not, so that what follows meets no type for the first time: the undefined behaviour sanitizer would ask for
  // a pipe then.
  const Range here[] = {range_of(kTask, 16, 1)}, nowhere[] = {range_of(object_id(43, kTaskMemory), 16, 1)};
  client.read(here, true);
  client.read(nowhere, true);
  REQUIRE(client.wait(10s, inbox.events, [&] { return inbox.pages.size() == 1 && inbox.failures.size() == 1; }));
  const rlimit none = {1, before.rlim_max};  // poll(2) takes no more entries than this
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &none) == 0);
  const Range one[] = {range_of(kShared, 0, 1)};
  client.read(one, true);
  const auto failed = client.wait(10s, inbox.events, [&] { return inbox.failures.size() == 2; });
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &before) == 0);
  REQUIRE(failed);
  CHECK(is_passing(inbox.failures[1].code));
  CHECK(log.has("cannot be answered for the moment"));
  CHECK(log.has("Too many open files; raise the limit of open files"));
  client.read(one, true);
  REQUIRE(client.wait(10s, inbox.events, [&] { return inbox.pages.size() == 2; }));
}

// Waits for the server to end the connection.
bool is_ended(int fd) {
  pollfd p = {fd, POLLRDHUP, 0};
  return ::poll(&p, 1, 10'000) == 1;
}

TEST_CASE("who has opened nothing gives way when all places are taken; who has does not") {
  const image::CapturedLog log;
  Served served({.max_clients = 4, .alone = {}, .workers = 2});
  const UniqueFd first = opened(served);
  const UniqueFd silent = served.connect(), hanging = served.connect(), greeted = served.connect();
  send_all(hanging.get(), "half a he");
  send_all(greeted.get(), bytes_of(hello()));
  REQUIRE(receive(greeted.get(), 4) == kHelloAnswer);
  while (served.server().clients() < 4) std::this_thread::yield();
  const UniqueFd second = opened(served), third = opened(served), fourth = opened(served);
  for (const int fd : {silent.get(), hanging.get(), greeted.get()}) CHECK(is_ended(fd));
  CHECK(log.has("all 4 places (--max-clients) are taken: connections that have opened no checkpoint are ended for newcomers, now for 127.0.0.1:"));
  // Now all are in use.
  const UniqueFd fifth = served.connect();
  CHECK(is_ended(fifth.get()));
  CHECK(served.server().counters().refused == 4);
  const Range one[] = {range_of(kTask, 16, 1)};
  const size_t size = sizeof(FrameHeader) + sizeof(RunHeader) + kPageSize;
  for (const int fd : {first.get(), second.get(), third.get(), fourth.get()}) {
    send_all(fd, frame(FrameType::kRead, kUrgent, 2, encode(one)));
    CHECK(receive(fd, size).size() == size);
  }
}

TEST_CASE("who does not do its part is put out after a while, and the log says why") {
  const image::CapturedLog log;
  const Patience little = {.hello = 200ms, .message = 200ms, .taking = 200ms};
  Served served({.patience = little, .alone = {}});
  // It reads nothing, and is seen to be gone by the server's count.
  const UniqueFd lazy = opened(served);
  for (int i = 0; i < 16; ++i) {
    const Range all[] = {range_of(kTask, 16, 2000)};
    send_all(lazy.get(), frame(FrameType::kRead, 0, 2, encode(all)));
  }
  const UniqueFd silent = served.connect();
  const UniqueFd half = opened(served);
  send_all(half.get(), "half");
  CHECK(is_ended(silent.get()));
  CHECK(is_ended(half.get()));
  while (served.server().clients() > 0) std::this_thread::yield();
  CHECK(log.has("is ended: it has not taken what it asked for, for 0.2 s"));
  CHECK(log.has("is ended: it has not said within 0.2 s what it wants"));
  CHECK(log.has("is ended: it has been silent for 0.2 s in the middle of a message"));
  CHECK(served.server().counters().broken == 3);
}

TEST_CASE("whoever asks for what it must not have is refused, and the log says so") {
  const image::CapturedLog log;
  Served served;
  std::filesystem::create_directory_symlink("/", served.root().path() / "out");
  const auto told = [&](const std::string& request, bool open, const char* line) {
    const UniqueFd socket = open ? opened(served) : served.connect();
    if (!open) send_all(socket.get(), bytes_of(hello()));
    send_all(socket.get(), request);
    CHECK(is_ended(socket.get()));
    INFO(log.text());
    CHECK(log.has(line));
  };
  const std::vector<Range> many(kMaxRanges + 1, range_of(kTask, 16, 1));
  const Range much[] = {range_of(kTask, 16, kMaxReadPages + 1)};
  told(frame(FrameType::kOpen, 0, 1, encode(Open{.name = "a/../../x"})), false, "is ended: the name of a checkpoint must be relative and stay below the served directory");
  told(frame(FrameType::kOpen, 0, 1, encode(Open{.name = "out/etc"})), false, "asked for the checkpoint \"out/etc\": there is no checkpoint \"out/etc\" here: Invalid cross-device link");
  told(frame(FrameType::kFile, 0, 1, "../inventory.img"), true, "is ended: the name of an image must stay in its checkpoint");
  told(frame(FrameType::kRead, 0, 1, encode(many)), true, "is longer than any request");
  told(frame(FrameType::kRead, 0, 1, encode(much)), true, "is ended: more than 16384 pages in one READ");
}

}  // namespace
}  // namespace faultline::pageserver
