#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>

#include "core/base/unique_fd.h"
#include "core/cli/commands.h"
#include "core/cli/observe.h"
#include "core/cli/top_view.h"
#include "pageserver/endpoint.h"
#include "pageserver/metrics.h"

using namespace faultline;
using namespace faultline::cli;

namespace {

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

TopSample pager() {
  TopSample s;
  s.path = "/a";
  s.pid = 4711;
  s.name = "images";
  s.state = PagerState::kServing;
  s.pages_total = 1000;
  s.pages_present = 500;
  s.faults = 100;
  s.latency.classes[6] = 100;  // up to 15 us
  return s;
}

TopSample server() {
  TopSample s;
  s.path = "/b";
  s.kind = LiveKind::kServer;
  s.pid = 99;
  s.name = "/srv/checkpoints";
  s.clients = 3;
  s.bytes_demand = 1 << 20;
  return s;
}

std::string read_all(int fd) {
  std::string text;
  char buffer[4096];
  // The other end of a terminal that is gone is EIO.
  for (ssize_t n; (n = ::read(fd, buffer, sizeof buffer)) > 0;) text.append(buffer, static_cast<size_t>(n));
  return text;
}

// The program itself, in a process of its own.
std::string run_it(std::vector<const char*> args) {
  args.insert(args.begin(), {"faultline", "top", "--no-default-config"});
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  const pid_t pid = fork();
  if (pid == 0) {
    ::dup2(ends[1], STDOUT_FILENO);
    ::close(ends[0]);
    _exit(run(args));
  }
  ::close(ends[1]);
  std::string text = read_all(ends[0]);
  ::close(ends[0]);
  int status = 0;
  REQUIRE(::waitpid(pid, &status, 0) == pid);
  CHECK(status == 0);
  return text;
}

}  // namespace

TEST_CASE("rates are per second, and the latency is that of the time between") {
  TopSample before = pager(), after = pager();
  after.faults = 300;
  after.bytes_bulk = 8 << 20;
  after.latency.classes[12] = 50;  // up to 100 us ... 150 us
  const auto rows = rows_of({before}, {after, server()}, 2);
  REQUIRE(rows.size() == 2);
  CHECK(rows[0].has_rates);
  CHECK(rows[0].faults == 100);
  CHECK(rows[0].bulk == 4 << 20);
  CHECK(rows[0].p50 > 70);
  CHECK_FALSE(rows[1].has_rates);
  // Nothing happened: what is shown is since the start.
  CHECK(rows_of({before}, {before}, 1)[0].p50 > 10);
  CHECK(rows_of({before}, {before}, 1)[0].p50 <= 15);
  // The same file name of another process.
  after.started = 5;
  CHECK_FALSE(rows_of({before}, {after}, 1)[0].has_rates);
}

TEST_CASE("the picture has a line for each, and keeps to its width") {
  const auto rows = rows_of({pager()}, {pager(), server()}, 1);
  const std::string text = top_text(rows, 200, false);
  for (const char* part : {"1 lazy restore, 1 page server", "4711 images", "serving", "[##########..........]  50%", "/srv/checkpoints", "3.9 MiB"})
    CHECK(contains(text, part));
  CHECK_FALSE(contains(text, "\x1b"));
  CHECK(contains(top_text(rows, 200, true), "\x1b[1m"));
  for (unsigned width : {1u, 20u, 40u, 80u}) {
    std::string narrow = top_text(rows, width, false);
    for (size_t at = 0; at < narrow.size();) {
      const size_t end = narrow.find('\n', at);
      CHECK(end - at <= width);
      at = end + 1;
    }
  }
  TopSample evil = pager();
  evil.name = "\x1b[2Jx";
  CHECK_FALSE(contains(top_text(rows_of({}, {evil}, 0), 200, false), "\x1b"));
}

TEST_CASE("JSON has all numbers") {
  const std::string text = top_json(rows_of({}, {pager(), server()}, 0));
  for (const char* part : {R"("kind": "pager", "pid": 4711)", R"("pages_present": 500, "pages_total": 1000)", R"("metrics": null)", R"("rates": null)",
                           R"("kind": "server", "pid": 99)", R"("clients": 3)"})
    CHECK(contains(text, part));
  CHECK(contains(top_json(rows_of({pager()}, {pager()}, 1)), R"("rates": {"faults": 0.0)"));
  CHECK(top_json({}) == "{\"processes\": []}\n");
}

TEST_CASE("top finds who publishes") {
  auto live = Live::publish(LiveKind::kPager, "top_test", "127.0.0.1:1");
  REQUIRE(live);
  if (!live->published()) {
    WARN("skipped: this user may not publish in " << kLiveDir);
    return;
  }
  set(live->pager().pages_total, 77);
  const std::string pid = std::to_string(getpid());
  const std::string json = run_it({"--once", "--json"});
  CHECK(contains(json, R"("pid": )" + pid));
  CHECK(contains(json, R"("name": "top_test", "metrics": "127.0.0.1:1")"));
  CHECK(contains(json, R"("pages_total": 77)"));
  const std::string text = run_it({"--once"});
  CHECK(contains(text, pid + " top_test"));
  CHECK_FALSE(contains(text, "\x1b"));
  live->retire();
  CHECK_FALSE(contains(run_it({"--once", "--json"}), "top_test"));
}

TEST_CASE("who is observed is seen by top and by Prometheus, and so is its successor") {
  Options options;
  options.metrics = "127.0.0.1:0";
  auto observation = observe(LiveKind::kServer, "observed", options);
  REQUIRE(observation);
  REQUIRE(observation->metrics);
  count(observation->live.server().broken, 5);
  const std::string where = observation->live.page().metrics;
  REQUIRE(where.starts_with("127.0.0.1:"));
  const auto port = static_cast<uint16_t>(std::stoi(where.substr(where.find(':') + 1)));
  if (observation->live.published()) CHECK(contains(run_it({"--once", "--json"}), "\"metrics\": \"" + where + "\""));

  const pid_t successor = fork();
  if (successor == 0) {
    // Counts on in the same memory, and answers on the same port until it is killed.
    count(observation->live.server().broken, 5);
    const auto server = pageserver::MetricsServer::start(UniqueFd(::dup(observation->metrics.get())), observation->live.page());
    for (;;) ::pause();
  }
  const UniqueFd socket = pageserver::connect_to("127.0.0.1", port, 5000).value();
  const std::string request = "GET /metrics HTTP/1.0\r\n\r\n";
  REQUIRE(::write(socket.get(), request.data(), request.size()) == static_cast<ssize_t>(request.size()));
  ::fcntl(socket.get(), F_SETFL, 0);
  CHECK(contains(read_all(socket.get()), "faultline_server_broken_total 10\n"));
  ::kill(successor, SIGKILL);
  ::waitpid(successor, nullptr, 0);
  observation->live.retire();

  const auto second = observe(LiveKind::kServer, "second", Options{.metrics = where});
  REQUIRE(!second);
  CHECK(contains(second.error().what, "--metrics: cannot listen on " + where));
}

TEST_CASE("on a terminal, q ends it, and the terminal is as it was") {
  for (const char* key : {"q", "\x03"}) {
    int terminal = -1;
    const pid_t pid = ::forkpty(&terminal, nullptr, nullptr, nullptr);
    REQUIRE(pid >= 0);
    if (pid == 0) {
      const std::vector<const char*> args = {"faultline", "top", "--no-default-config"};
      termios before, after;
      tcgetattr(STDIN_FILENO, &before);
      const int code = run(args);
      tcgetattr(STDIN_FILENO, &after);
      _exit(code == 0 && before.c_lflag == after.c_lflag ? 0 : 1);
    }
    const UniqueFd owner(terminal);
    std::string seen;
    char buffer[4096];
    while (!contains(seen, "q: end")) {
      pollfd wait = {.fd = terminal, .events = POLLIN, .revents = 0};
      REQUIRE(::poll(&wait, 1, 10000) == 1);
      const ssize_t n = ::read(terminal, buffer, sizeof buffer);
      REQUIRE(n > 0);
      seen.append(buffer, static_cast<size_t>(n));
    }
    REQUIRE(::write(terminal, key, 1) == 1);
    seen += read_all(terminal);
    int status = 0;
    REQUIRE(::waitpid(pid, &status, 0) == pid);
    CHECK(status == 0);
    CHECK(seen.starts_with("\x1b[?1049h\x1b[?25l"));
    CHECK(seen.ends_with("\x1b[?25h\x1b[?1049l"));
  }
}
