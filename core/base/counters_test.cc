#include "core/base/counters.h"

#include <sched.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>

#include "core/base/live.h"
#include "core/base/unique_fd.h"

using namespace faultline;

namespace {

struct Sandbox {
  std::string dir = "/tmp/counters_test.XXXXXX";
  Sandbox() { REQUIRE(mkdtemp(dir.data())); }
  ~Sandbox() { std::filesystem::remove_all(dir); }
  size_t files() const { return static_cast<size_t>(std::distance(std::filesystem::directory_iterator(dir), {})); }
};

// A process that publishes, and lives until told to end, or is killed.
struct Child {
  pid_t pid;
  UniqueFd life;

  explicit Child(const std::string& dir) {
    int go[2], ready[2];
    REQUIRE((::pipe(go) == 0 && ::pipe(ready) == 0));
    pid = fork();
    if (pid == 0) {
      ::close(go[1]);
      auto live = Live::publish(LiveKind::kPager, "child", "", dir.c_str());
      set(live->pager().faults, 42);
      // What lives on is the mapping only, in a process that this one forked.
      if (fork() == 0) {
        char c;
        (void)!::write(ready[1], "", 1);
        (void)!::read(go[0], &c, 1);
      }
      _exit(0);
    }
    ::close(go[0]), ::close(ready[1]);
    life = UniqueFd(go[1]);
    char c;
    REQUIRE(::read(ready[0], &c, 1) == 1);
    ::close(ready[0]);
    REQUIRE(::waitpid(pid, nullptr, 0) == pid);
  }
};

}  // namespace

TEST_CASE("times fall into their classes, and quantiles come out between the bounds") {
  static Latency latency;
  CHECK(LatencyView::of(latency).quantile(0.5) == 0);
  latency.add(0);
  latency.add(1000);
  latency.add(1001);
  CHECK(get(latency.classes[0]) == 2);
  CHECK(get(latency.classes[1]) == 1);
  CHECK(get(latency.nanoseconds) == 2001);
  const LatencyView before = LatencyView::of(latency);
  for (int i = 0; i < 98; ++i) latency.add(40'000);
  latency.add(60'000'000'000), latency.add(60'000'000'000);
  const LatencyView since = LatencyView::of(latency) - before;
  CHECK(since.total() == 100);
  CHECK((since.quantile(0.5) > 30 && since.quantile(0.5) <= 50));
  CHECK(since.quantile(0.99) == Latency::kBounds.back());
  CHECK(latency.total() == 103);
}

TEST_CASE("who publishes is seen, and its numbers are") {
  const Sandbox sandbox;
  auto live = Live::publish(LiveKind::kServer, "/srv/" + std::string(300, 'x'), "127.0.0.1:9", sandbox.dir.c_str());
  REQUIRE(live);
  CHECK(live->published());
  count(live->server().requests_bulk, 7);
  auto seen = everybody_alive(sandbox.dir.c_str());
  REQUIRE(seen);
  REQUIRE(seen->size() == 1);
  const LiveView& view = seen->front();
  CHECK(view.page().kind == LiveKind::kServer);
  CHECK(get(view.page().pid) == static_cast<uint64_t>(getpid()));
  CHECK(view.name() == "/srv/" + std::string(250, 'x'));
  CHECK(view.metrics() == "127.0.0.1:9");
  CHECK(get(view.page().server.requests_bulk) == 7);
  count(live->server().requests_bulk);
  CHECK(get(view.page().server.requests_bulk) == 8);
  // The same pid once more, as it happens with pid namespaces.
  auto twin = Live::publish(LiveKind::kPager, "twin", "", sandbox.dir.c_str());
  CHECK(everybody_alive(sandbox.dir.c_str())->size() == 2);
  twin->retire();
  CHECK(everybody_alive(sandbox.dir.c_str())->size() == 1);
}

TEST_CASE("counters live as long as a process has them, and the files of the dead go") {
  const Sandbox sandbox;
  {
    const Child child(sandbox.dir);
    auto seen = everybody_alive(sandbox.dir.c_str());
    REQUIRE(seen->size() == 1);
    CHECK(get(seen->front().page().pager.faults) == 42);
  }
  // The grandchild ends as its pipe is closed; nobody can wait for it but by looking.
  while (!everybody_alive(sandbox.dir.c_str())->empty()) sched_yield();
  CHECK(sandbox.files() == 0);
}

TEST_CASE("what is no file of counters is left alone") {
  const Sandbox sandbox;
  std::ofstream(sandbox.dir + "/1.counters") << "something else";
  std::ofstream(sandbox.dir + "/note") << "text";
  std::filesystem::create_symlink("/etc/passwd", sandbox.dir + "/2.counters");
  REQUIRE(mkfifo((sandbox.dir + "/3.counters").c_str(), 0600) == 0);
  CHECK(everybody_alive(sandbox.dir.c_str())->empty());
  CHECK(sandbox.files() == 4);
  CHECK(everybody_alive((sandbox.dir + "/absent").c_str())->empty());
}

TEST_CASE("without a place to publish, counters still count") {
  auto live = Live::publish(LiveKind::kPager, "x", "", "/proc/nowhere");
  REQUIRE(live);
  CHECK_FALSE(live->published());
  count(live->pager().faults);
  CHECK(get(live->pager().faults) == 1);
}
