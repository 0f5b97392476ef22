#include "pageserver/metrics.h"

#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstring>
#include <filesystem>
#include <map>
#include <sstream>
#include <thread>
#include <vector>

#include "pageserver/endpoint.h"

using namespace faultline;
using namespace faultline::pageserver;

namespace {

Live counters(LiveKind kind, const std::string& name) { return Live::publish(kind, name, "", "/proc/nowhere").value(); }

// The samples of a text, by name and labels. Every line must be a comment or a sample, and every sample's family must have a type before it.
std::map<std::string, double> samples(const std::string& text) {
  std::map<std::string, double> found;
  std::map<std::string, std::string> types;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    INFO(line);
    if (line.starts_with("# TYPE ")) {
      std::istringstream words(line.substr(7));
      std::string name, type;
      words >> name >> type;
      CHECK(types.emplace(name, type).second);
      continue;
    }
    if (line.starts_with("# HELP ")) continue;
    const size_t space = line.rfind(' ');
    REQUIRE(space != line.npos);
    const std::string key = line.substr(0, space);
    std::string family = key.substr(0, key.find('{'));
    for (const std::string ending : {"_bucket", "_sum", "_count"})
      if (family.ends_with(ending) && types.contains(family.substr(0, family.size() - ending.size()))) family.resize(family.size() - ending.size());
    CHECK(types.contains(family));
    CHECK(found.emplace(key, std::stod(line.substr(space + 1))).second);
  }
  return found;
}

std::string ask(uint16_t port, const std::string& request) {
  const UniqueFd socket = connect_to("127.0.0.1", port, 5000).value();
  REQUIRE(::send(socket.get(), request.data(), request.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(request.size()));
  std::string answer;
  for (;;) {
    pollfd wait = {.fd = socket.get(), .events = POLLIN, .revents = 0};
    REQUIRE(::poll(&wait, 1, 10000) == 1);
    char buffer[4096];
    const ssize_t n = ::recv(socket.get(), buffer, sizeof buffer, 0);
    if (n <= 0) return answer;
    answer.append(buffer, static_cast<size_t>(n));
  }
}

}  // namespace

TEST_CASE("a pager's counters as text") {
  const Live live = counters(LiveKind::kPager, "a \"b\"\\c\nd");
  set(live.pager().state, static_cast<uint64_t>(PagerState::kServing));
  count(live.pager().pages_bulk, 5);
  live.pager().fault.add(40'000);
  live.pager().fault.add(9'000'000'000);
  const std::string text = metrics_text(live.page());
  CHECK(text.find("name=\"a \\\"b\\\"\\\\c\\nd\"") != text.npos);
  const auto found = samples(text);
  CHECK(found.at("faultline_pager_state{state=\"serving\"}") == 1);
  CHECK(found.at("faultline_pager_state{state=\"failed\"}") == 0);
  CHECK(found.at("faultline_pager_pages_total{class=\"bulk\"}") == 5);
  CHECK(found.at("faultline_pager_fault_seconds_bucket{le=\"3e-05\"}") == 0);
  CHECK(found.at("faultline_pager_fault_seconds_bucket{le=\"5e-05\"}") == 1);
  CHECK(found.at("faultline_pager_fault_seconds_bucket{le=\"5\"}") == 1);
  CHECK(found.at("faultline_pager_fault_seconds_bucket{le=\"+Inf\"}") == 2);
  CHECK(found.at("faultline_pager_fault_seconds_count") == 2);
  CHECK(found.at("faultline_pager_fault_seconds_sum") == Approx(9.00004));
}

TEST_CASE("a server's counters as text") {
  const Live live = counters(LiveKind::kServer, "/srv");
  count(live.server().bytes_demand, 4096);
  set(live.server().sessions, 3);
  const auto found = samples(metrics_text(live.page()));
  CHECK(found.at("faultline_server_bytes_total{class=\"demand\"}") == 4096);
  CHECK(found.at("faultline_server_clients") == 3);
  CHECK(found.at("faultline_info{kind=\"server\",name=\"/srv\"}") == 1);
}

TEST_CASE("addresses of --metrics") {
  const auto check = [](const char* text, const char* host, uint16_t port) {
    const auto address = parse_metrics_address(text);
    INFO(text);
    REQUIRE(address);
    CHECK(address->host == host);
    CHECK(address->port == port);
  };
  check("9100", "", 9100);
  check(":0", "", 0);
  check("10.0.0.1:80", "10.0.0.1", 80);
  check("[::1]:80", "::1", 80);
  check("some.host:80", "some.host", 80);
  for (const char* text : {"", "host", "host:", "::1:80", "1:99999", "1:2x"}) CHECK_FALSE(parse_metrics_address(text));
}

TEST_CASE("Prometheus gets its text over HTTP, others get nothing") {
  const Live live = counters(LiveKind::kServer, "/srv");
  Listener listener = listen_on("127.0.0.1", 0).value();
  const UniqueFd kept(::dup(listener.socket.get()));
  {
    auto server = MetricsServer::start(std::move(listener.socket), live.page());
    REQUIRE(server);
    count(live.server().broken, 11);
    const std::string answer = ask(listener.port, "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    CHECK(answer.starts_with("HTTP/1.1 200 OK\r\n"));
    CHECK(answer.find("Content-Type: text/plain; version=0.0.4") != answer.npos);
    const auto found = samples(answer.substr(answer.find("\r\n\r\n") + 4));
    CHECK(found.at("faultline_server_broken_total") == 11);
    CHECK(ask(listener.port, "GET /other HTTP/1.0\r\n\r\n").find(" 404 ") != answer.npos);
    CHECK(ask(listener.port, "POST /metrics HTTP/1.0\r\nContent-Length: 0\r\n\r\n").find(" 200 ") == answer.npos);
    CHECK(ask(listener.port, "GET /metrics HTTP/1.0\r\nX: " + std::string(6000, 'x') + "\r\nY: " + std::string(6000, 'y') + "\r\n\r\n").find(" 200 ") == answer.npos);
  }
  // A successor with the same listener answers on the same port.
  auto successor = MetricsServer::start(UniqueFd(::dup(kept.get())), live.page());
  REQUIRE(successor);
  CHECK(ask(listener.port, "GET /metrics HTTP/1.0\r\n\r\n").find("faultline_server_broken_total 11\n") != std::string::npos);
}

TEST_CASE("idle connections take few descriptors, and make room soon") {
  const Live live = counters(LiveKind::kServer, "/srv");
  Listener listener = listen_on("127.0.0.1", 0).value();
  auto server = MetricsServer::start(std::move(listener.socket), live.page());
  REQUIRE(server);
  const auto open_files = [] { return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), std::filesystem::directory_iterator()); };
  const auto before = open_files();
  std::vector<UniqueFd> idle;
  for (int i = 0; i < 40; ++i) idle.push_back(connect_to("127.0.0.1", listener.port, 5000).value());
  const auto most = before + 40 + 32;
  pollfd first = {.fd = idle[0].get(), .events = POLLIN, .revents = 0};
  while (open_files() < most && ::poll(&first, 1, 0) == 0) std::this_thread::yield();
  bool more = false;
  for (int i = 0; i < 1000 && ::poll(&first, 1, 10) == 0; ++i) more |= open_files() > most;
  CHECK_FALSE(more);
  CHECK(first.revents != 0);
  CHECK(ask(listener.port, "GET /metrics HTTP/1.0\r\n\r\n").find(" 200 ") != std::string::npos);
}
