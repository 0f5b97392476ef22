#include "lazy/remote.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <catch2/catch.hpp>
#include <thread>

#include "core/image/captured_log.h"
#include "lazy/test_server.h"
#include "lazy/test_target.h"

namespace faultline::lazy {
namespace {

using namespace std::chrono_literals;
using test::ScriptedServer;
using test::stored_word;
using test::Target;

constexpr uint64_t kPages = 512;

bool is_stored(const std::byte* memory, uint64_t page) { return *reinterpret_cast<const volatile uint64_t*>(memory + page * kPageSize) == stored_word(page, 0); }

int reap(pid_t pid) {
  int status = 0;
  ::waitpid(pid, &status, 0);
  return status;
}

TEST_CASE("what a server cannot give for the moment is asked for again, and kills nobody") {
  const int code = GENERATE(EMFILE, ENFILE, ENOMEM, EAGAIN);
  ScriptedServer server;
  RemoteOptions remote = server.options();
  Target target(kPages, remote, [](std::byte* m) { return is_stored(m, 3) && is_stored(m, 300) ? 0 : 1; });
  const pid_t guard = target.serve({.prefetch = Prefetch::kNone});
  server.accept();
  for (int i = 0; i < 3; ++i) server.fail(server.read(), code, "not now");
  server.send(server.read());
  server.send(server.read());
  CHECK(target.wait() == 0);
  CHECK(reap(guard) == 0);
}

TEST_CASE("a page that the server will never have kills who waits for it") {
  ScriptedServer server;
  RemoteOptions remote = server.options();
  Target target(kPages, remote, [](std::byte* m) { return is_stored(m, 3) ? 0 : 1; });
  const pid_t guard = target.serve({.prefetch = Prefetch::kNone});
  server.accept();
  server.fail(server.read(), ENOENT, "it is not there");
  const int status = target.wait();
  CHECK(WIFSIGNALED(status));
  CHECK(reap(guard) == 0);
}

TEST_CASE("after a loss the first page that comes lets the program go on, and the others have their time again") {
  const image::CapturedLog log;
  ScriptedServer server;
  RemoteOptions remote = server.options();
  remote.page_timeout = 1s;
  // Two wait when the server is lost.
  Target target(kPages, remote, [](std::byte* m) {
    bool other = false;
    std::thread thread([&] { other = is_stored(m, 300); });
    const bool good = is_stored(m, 3);
    thread.join();
    return good && other ? 0 : 1;
  });
  const pid_t guard = *target.pager().detach({.prefetch = Prefetch::kNone, .keep_fds = {log::descriptor()}});
  target.go();
  server.accept();
  for (size_t waited = 0; waited < 2;) waited += server.read().ranges.size();
  int status = 0;
  REQUIRE(::waitpid(target.pid(), &status, WUNTRACED) == target.pid());
  REQUIRE(WIFSTOPPED(status));
  server.hang_up();
  server.accept();
  ScriptedServer::Read again = server.read();
  REQUIRE(again.ranges.size() == 2);
  server.send({again.id, again.urgent, {again.ranges[0]}}, false);
  REQUIRE(::waitpid(target.pid(), &status, WCONTINUED) == target.pid());
  REQUIRE(WIFCONTINUED(status));
  // For some ticks of the pager the second does not come: that alone is no loss.
  CHECK_FALSE(server.left_within(3 * RemotePort::kTick));
  CHECK(::waitpid(target.pid(), &status, WUNTRACED | WNOHANG) == 0);
  server.send({again.id, again.urgent, {again.ranges[1]}});
  CHECK(target.wait() == 0);
  CHECK(reap(guard) == 0);
  CHECK(log.count("a page has been waited for") == 1);
}

TEST_CASE("the only connection is kept through a silence for which another would be given up") {
  const bool criu = GENERATE(true, false);
  ScriptedServer server;
  RemoteOptions remote = server.options();
  remote.client.patience = 300ms;
  remote.page_timeout = 100s;
  std::thread accepting([&] { server.accept(criu); });
  const auto connected = remote.connect_first();
  accepting.join();
  REQUIRE(connected);
  REQUIRE(remote.single == criu);
  int kernel_ms = 0;
  socklen_t size = sizeof kernel_ms;
  REQUIRE(::getsockopt(remote.first->fd(), IPPROTO_TCP, TCP_USER_TIMEOUT, &kernel_ms, &size) == 0);
  CHECK(kernel_ms == (criu ? 100'000 : 60'000));
  Target target(kPages, remote, [](std::byte* m) { return is_stored(m, 3) ? 0 : 1; });
  const pid_t guard = target.serve({.prefetch = Prefetch::kNone});
  remote.hand_over();
  ScriptedServer::Read read = server.read();
  if (criu) {
    CHECK_FALSE(server.left_within(1s));
  } else {
    CHECK(server.left_within(10s));
    server.accept();
    read = server.read();
  }
  server.send(read);
  CHECK(target.wait() == 0);
  server.hang_up();
  CHECK(reap(guard) == 0);
}

TEST_CASE("what the first instruction needs is urgent, all memory of an eager restore is not") {
  ScriptedServer server;
  RemoteOptions remote = server.options();
  uint64_t urgent = 0, bulk = 0;
  std::thread serving([&] {
    server.accept();
    while (urgent + bulk < kPages) {
      const ScriptedServer::Read read = server.read();
      for (const auto& range : read.ranges) (read.urgent ? urgent : bulk) += range.pages;
      server.send(read);
    }
  });
  const auto connected = remote.connect_first();
  Target target(kPages, remote, [](std::byte* m) {
    for (uint64_t page = 0; page < kPages; ++page)
      if (!is_stored(m, page)) return 1;
    return 0;
  });
  const auto installed = target.pager().install(target.pid(), target.address() + 5 * kPageSize);
  const auto filled = target.pager().fill_everything({});
  serving.join();
  REQUIRE(connected);
  REQUIRE(installed);
  REQUIRE(filled);
  CHECK(urgent == 1);
  CHECK(bulk == kPages - 1);
  target.go();
  CHECK(target.wait() == 0);
}

}  // namespace
}  // namespace faultline::lazy
