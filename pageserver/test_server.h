#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <map>

#include "pageserver/catalog.h"
#include "pageserver/client.h"
#include "pageserver/endpoint.h"
#include "pageserver/server.h"
#include "pageserver/test_checkpoint.h"

// A server for tests, and clients of several kinds.
namespace faultline::pageserver {

using namespace std::chrono_literals;

inline constexpr ObjectId kTask = object_id(42, kTaskMemory), kShared = object_id(7, kSharedMemory);

inline bool some_zero(uint64_t page) { return page % 16 >= 12; }

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
    // As on this kernel, and as on one with an io_uring of few abilities.
    options.newer_uring = GENERATE(true, false);
    auto server = Server::start(*catalog_, std::move(listener->socket), options);
    REQUIRE(server);
    server_ = std::move(*server);
  }

  UniqueFd connect() const {
    UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    connect(socket);
    return socket;
  }
  void connect(UniqueFd& socket) const {
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port_));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (::connect(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) socket.reset();  // no REQUIRE: threads call it
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

inline Range range_of(ObjectId object, uint64_t page, uint64_t pages) { return {object, page * kPageSize, pages}; }

// A connection without a client's logic.
inline std::string receive(int fd, size_t size) {
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

inline void send_all(int fd, std::string_view bytes) { REQUIRE(::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size())); }

template <typename T>
std::string bytes_of(const T& value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

inline std::string frame(FrameType type, uint16_t flags, uint64_t id, std::string_view payload) {
  std::string bytes;
  append_frame(bytes, type, flags, id, payload);
  return bytes;
}

// A connection that has said hello and OPEN.
inline UniqueFd opened(const Served& served, const std::string& name = "") {
  UniqueFd socket = served.connect();
  send_all(socket.get(), bytes_of(hello()));
  REQUIRE(receive(socket.get(), 4) == kHelloAnswer);
  send_all(socket.get(), frame(FrameType::kOpen, 0, 1, encode(Open{.name = name})));
  REQUIRE(receive(socket.get(), sizeof(FrameHeader) + 16).size() == sizeof(FrameHeader) + 16);
  return socket;
}

}  // namespace faultline::pageserver
