// Whoever is served does not wait for what others have asked for.
#include <catch2/catch.hpp>
#include <condition_variable>

#include "core/base/scope_exit.h"
#include "pageserver/test_server.h"

namespace faultline::pageserver {
namespace {

// Sources whose lists take as long as the test wants.
class SlowSources : public Sources, public PageSource, public std::enable_shared_from_this<SlowSources> {
 public:
  Result<std::shared_ptr<PageSource>> find(const std::string&) override { return shared_from_this(); }
  Result<std::string> names() override { return *TRY(list_files()); }
  Result<Place> locate(const Range& range) override { return Place{.pages = range.pages}; }
  Result<void> copy(const Range&, std::span<std::byte> to) override {
    std::ranges::fill(to, std::byte{7});
    return {};
  }
  Result<std::shared_ptr<const std::string>> list_files() override {
    std::unique_lock lock(mutex_);
    begun_ = true;
    changed_.notify_all();
    changed_.wait(lock, [&] { return may_end_; });
    return std::make_shared<const std::string>("1 x.img\n");
  }
  bool listed() const override { return false; }
  Result<ServedFile> open_file(const std::string&) override {
    return ServedFile{.fd = {}, .text = std::make_shared<const std::string>("x"), .pages = {}, .size = 1};
  }

  bool wait_begun() {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, 10s, [&] { return begun_; });
  }
  void end() {
    std::lock_guard lock(mutex_);
    may_end_ = true;
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool begun_ = false, may_end_ = false;
};

// A client on a socket pair.
Client adopted(Server& server) {
  int ends[2];
  REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
  server.adopt(UniqueFd(ends[1]));
  auto client = Client::start(std::move(*plain_stream(UniqueFd(ends[0]))), {});
  REQUIRE(client);
  REQUIRE(client->wait_ready(10s));
  return std::move(*client);
}

TEST_CASE("lists that take long hold up nobody") {
  const auto type = GENERATE(FrameType::kNames, FrameType::kFiles, FrameType::kFile);
  auto sources = std::make_shared<SlowSources>();
  auto server = Server::start(*sources, UniqueFd(), {.alone = {}, .workers = 1});
  REQUIRE(server);
  const ScopeExit end([&] { sources->end(); });  // also when the test fails
  int ends[2];
  REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
  const UniqueFd asker(ends[0]);
  (*server)->adopt(UniqueFd(ends[1]));
  send_all(asker.get(), bytes_of(hello()) + frame(FrameType::kOpen, 0, 1, encode(Open{})));
  const size_t greeting = 4 + sizeof(FrameHeader) + 16;
  REQUIRE(receive(asker.get(), greeting).size() == greeting);
  send_all(asker.get(), frame(type, 0, 2, type == FrameType::kFile ? "x.img" : ""));
  REQUIRE(sources->wait_begun());

  Client other = adopted(**server);
  Inbox inbox;
  const Range one[] = {range_of(kTask, 16, 1)};
  other.read(one, true);
  CHECK(other.wait(10s, inbox.events, [&] { return !inbox.pages.empty(); }));
  // One who does not wait for the answer is not waited for either; its connection ends when the list is there.
  const bool leaves = GENERATE(false, true);
  if (leaves) ::shutdown(asker.get(), SHUT_RDWR);
  sources->end();
  if (leaves) return;
  const std::string expected = type == FrameType::kFile ? "x" : "1 x.img\n";
  CHECK(receive(asker.get(), sizeof(FrameHeader) + expected.size()).substr(sizeof(FrameHeader)) == expected);
}

// A stream that takes whatever is sent, at once: its connection always has a turn to take. What is read from it comes from a socket.
class Endless final : public Stream {
 public:
  Endless(UniqueFd socket, std::atomic<uint64_t>& taken) : Stream(std::move(socket)), taken_(taken) { REQUIRE(prepare_socket(fd())); }

  Result<size_t> read(std::span<std::byte> to) override {
    const ssize_t n = ::recv(fd(), to.data(), to.size(), 0);
    if (n == 0) return error(ENODATA, "the end");
    return n > 0 ? static_cast<size_t>(n) : size_t{0};
  }
  Result<size_t> write(std::span<const iovec> from) override {
    size_t size = 0;
    for (const iovec& piece : from) size += piece.iov_len;
    taken_ += size;
    return size;
  }
  short wanted_by_read() const override { return POLLIN; }
  short wanted_by_write() const override { return POLLOUT; }
  void shutdown() override {}

 private:
  std::atomic<uint64_t>& taken_;
};

TEST_CASE("who marks everything as urgent does not keep others from their bulk") {
  std::atomic<uint64_t> taken = 0;
  bool first = true;
  Served served({.alone = {}, .workers = 1, .make_stream = [&](UniqueFd socket) -> Result<std::unique_ptr<Stream>> {
                   if (!std::exchange(first, false)) return plain_stream(std::move(socket));
                   return std::unique_ptr<Stream>(new Endless(std::move(socket), taken));
                 }});
  const UniqueFd flood = served.connect();
  while (served.server().clients() == 0) std::this_thread::yield();
  Client client = served.client();
  REQUIRE(client.wait_ready(10s));
  constexpr uint64_t kRequests = 16, kPagesOfEach = 8 * 2000, kAll = kRequests * kPagesOfEach * kPageSize;  // nearly all that may wait
  const std::vector<Range> ranges(8, range_of(object_id(42, kTaskMemory), 16, 2000));
  std::string requests = bytes_of(hello()) + frame(FrameType::kOpen, 0, 1, encode(Open{}));
  for (uint64_t i = 0; i < kRequests; ++i) requests += frame(FrameType::kRead, kUrgent, 2 + i, encode(ranges));
  send_all(flood.get(), requests);
  while (taken < Chunk::kSmall) std::this_thread::yield();
  Inbox inbox;
  const Range all[] = {range_of(kTask, 16, 2000)};
  client.read(all, false);
  REQUIRE(client.wait(30s, inbox.events, [&] { return inbox.pages.size() == 2000; }));
  CHECK(taken < kAll / 2);
}

}  // namespace
}  // namespace faultline::pageserver
