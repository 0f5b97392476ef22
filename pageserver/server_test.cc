#include "pageserver/server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <map>

#include "pageserver/catalog.h"
#include "pageserver/client.h"
#include "pageserver/compression.h"
#include "pageserver/endpoint.h"
#include "pageserver/test_checkpoint.h"

namespace faultline::pageserver {
namespace {

using namespace std::chrono_literals;

constexpr ObjectId kTask = object_id(42, kTaskMemory), kShared = object_id(7, kSharedMemory);

bool some_zero(uint64_t page) { return page % 16 >= 12; }

// A served directory with one checkpoint in it and one below it, and a server for it.
class Served {
 public:
  explicit Served(ServerOptions options = {}) {
    write_object(root_.path(), kTask, 1, {{16, 2000, 6}, {4096, 1, 4}}, some_zero);
    write_inventory(root_.path());
    write_object(root_.path() / "a/b", kTask, 1, {{16, 8, 6}, {100, 3, 4}});
    write_object(root_.path() / "a/b", kShared, 2, {{0, 4, 6}, {9, 1, 4}});
    root_.write("a/b/pstree.img", "all of pstree");
    root_.write("a/b/secret.txt", "not for others");
    write_inventory(root_.path() / "a/b");
    UniqueFd root(::open(root_.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    catalog_ = std::make_unique<Catalog>(std::move(root));
    auto listener = listen_on("127.0.0.1", 0);
    REQUIRE(listener);
    port_ = listener->port;
    auto server = Server::start(*catalog_, std::move(listener->socket), options);
    REQUIRE(server);
    server_ = std::move(*server);
  }

  UniqueFd connect() const {
    UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port_));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    REQUIRE(::connect(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
    return socket;
  }
  Client client(const ClientOptions& options = {}) const {
    auto stream = plain_stream(connect());
    REQUIRE(stream);
    auto client = Client::start(std::move(*stream), options);
    REQUIRE(client);
    return std::move(*client);
  }
  Server& server() { return *server_; }
  void stop() { server_.reset(); }
  const image::ScratchDir& root() const { return root_; }

 private:
  image::ScratchDir root_;
  std::unique_ptr<Catalog> catalog_;
  std::unique_ptr<Server> server_;
  int port_ = 0;
};

// What arrives at a client.
struct Inbox {
  std::map<std::pair<ObjectId, uint64_t>, std::string> pages;  // by page number
  std::vector<Failed> failures;
  ClientEvents events = {
      .pages =
          [this](const Range& range, std::span<const std::byte> contents) {
            for (uint64_t i = 0; i < range.pages; ++i)
              pages[{range.object, range.address / kPageSize + i}] =
                  contents.empty() ? std::string(kPageSize, '\0') : std::string(reinterpret_cast<const char*>(contents.data()) + i * kPageSize, kPageSize);
          },
      .failed = [this](uint64_t, const Failed& f) { failures.push_back(f); },
      .revoked = {},
  };
};

Range range_of(ObjectId object, uint64_t page, uint64_t pages) { return {object, page * kPageSize, pages}; }

// A connection without a client's logic.
std::string receive(int fd, size_t size) {
  std::string bytes(size, '\0');
  size_t at = 0;
  while (at < size) {
    pollfd p = {fd, POLLIN, 0};
    REQUIRE(::poll(&p, 1, 10000) == 1);
    const ssize_t n = ::recv(fd, bytes.data() + at, size - at, 0);
    if (n <= 0) break;
    at += static_cast<size_t>(n);
  }
  bytes.resize(at);
  return bytes;
}

void send_all(int fd, std::string_view bytes) { REQUIRE(::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size())); }

template <typename T>
std::string bytes_of(const T& value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

TEST_CASE("pages are read by range, urgent and not, zeros and all") {
  Served served;
  Client client = served.client();
  Inbox inbox;
  REQUIRE(client.wait_ready(10s));
  CHECK_FALSE(client.speaks_criu());
  CHECK_FALSE(client.live());
  const Range all[] = {range_of(kTask, 16, 2000), range_of(kTask, 4096, 1)};
  client.read(all, false);
  const Range one[] = {range_of(kTask, 77, 1)};
  client.read(one, true);
  REQUIRE(client.wait(10s, inbox.events, [&] { return inbox.pages.size() == 2001; }));
  CHECK(inbox.failures.empty());
  for (const auto& [key, page] : inbox.pages) REQUIRE(page == test_page(42, key.second, some_zero(key.second)));
  CHECK(served.server().counters().pages_zero > 400);
  CHECK(served.server().counters().requests_demand == 1);
  CHECK(client.done(10s));
}

TEST_CASE("several checkpoints; files are listed and fetched, lean where they hold memory") {
  Served served;
  Client client = served.client({.checkpoint = "a/b"});
  REQUIRE(client.wait_ready(10s));
  const auto files = client.list_files(10s);
  REQUIRE(files);
  CHECK(image::has(*files, "13 pstree.img\n"));
  CHECK(image::has(*files, "12288 pages-1.img\n"));
  CHECK_FALSE(image::has(*files, "secret"));
  CHECK(files->ends_with("9 inventory.img\n"));
  const auto get = [&](const std::string& name) {
    std::string contents;
    auto done = client.get_file(name, 10s, [&](std::span<const std::byte> bytes) -> Result<void> {
      contents.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
      return {};
    });
    return done ? contents : "failed: " + done.error().what;
  };
  CHECK(get("pstree.img") == "all of pstree");
  CHECK(get("pages-1.img") == test_page(42, 100) + test_page(42, 101) + test_page(42, 102));
  CHECK(get("pages-2.img") == test_page(7, 9));
  CHECK(get("secret.txt").starts_with("failed: "));
  const image::ScratchDir fetched;
  fetched.write("pagemap-42.img", get("pagemap-42.img"));
  fetched.write("pages-1.img", get("pages-1.img"));
  const auto map = image::load_pagemap(fetched.dir(), "pagemap-42.img", false);
  REQUIRE(map);
  REQUIRE(map->entries.size() == 2);
  CHECK(*map->entries[0].flags == image::kPageLazy);
  CHECK(*map->entries[1].flags == image::kPagePresent);
}

TEST_CASE("what is not there fails alone") {
  Served served;
  Client client = served.client({.checkpoint = "a/b"});
  Inbox inbox;
  REQUIRE(client.wait_ready(10s));
  const Range missing[] = {range_of(kTask, 16, 100)};
  client.read(missing, false);
  const Range unknown[] = {range_of(object_id(43, kTaskMemory), 16, 1)};
  client.read(unknown, true);
  const Range good[] = {range_of(kShared, 0, 4)};
  client.read(good, false);
  REQUIRE(client.wait(10s, inbox.events, [&] { return inbox.failures.size() == 2 && inbox.pages.contains({kShared, 3}); }));
  CHECK(inbox.failures[0].code == ENOENT);
  Client other = served.client({.checkpoint = "a"});
  CHECK_FALSE(other.wait_ready(10s));
}

TEST_CASE("CRIU's client is answered from the checkpoint in the directory itself") {
  Served served;
  const UniqueFd socket = served.connect();
  const CriuHeader get = {.command = kCriuGet, .pages = 200, .vaddr = 16 * kPageSize, .object = 42};
  const CriuHeader one = {.command = kCriuGet, .pages = 1, .vaddr = 4096 * kPageSize, .object = 42};
  const CriuHeader close = {.command = kCriuClose};
  send_all(socket.get(), bytes_of(get) + bytes_of(one) + bytes_of(close));
  CriuHeader expected = get;
  expected.command = 0x00040006;
  CHECK(receive(socket.get(), sizeof expected) == bytes_of(expected));
  for (uint64_t i = 0; i < 200; ++i) REQUIRE(receive(socket.get(), kPageSize) == test_page(42, 16 + i, some_zero(16 + i)));
  expected = one;
  expected.command = 0x00040006;
  CHECK(receive(socket.get(), sizeof expected) == bytes_of(expected));
  CHECK(receive(socket.get(), kPageSize) == test_page(42, 4096));
  CHECK(receive(socket.get(), 100) == std::string(4, '\0'));
}

TEST_CASE("a page that is not there ends a session of CRIU's protocol") {
  Served served;
  const UniqueFd socket = served.connect();
  send_all(socket.get(), bytes_of(CriuHeader{.command = kCriuGet, .pages = 1, .vaddr = 0, .object = 42}));
  CHECK(receive(socket.get(), 100).empty());
}

}  // namespace
}  // namespace faultline::pageserver
