#include "pageserver/server.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <climits>
#include <filesystem>
#include <thread>

#include "core/image/captured_log.h"
#include "pageserver/compression.h"
#include "pageserver/test_server.h"

namespace faultline::pageserver {
namespace {

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

std::string read_all_pages() {
  const Range all[] = {range_of(kTask, 16, 2000)};
  return encode(all);
}

TEST_CASE("packed pages arrive as they were, by both packings, and whatever the client cannot unpack is not used") {
  const Compress compress = GENERATE(Compress::kLz4, Compress::kZstd, Compress::kAuto);
  const uint32_t offered = GENERATE(kOfferLz4 | kOfferZstd, 0u);
  Served served({.compress = compress, .alone = {}});
  std::string text;
  while (text.size() < 2001 * kPageSize) text += fmt::format("line {} of many that are alike\n", text.size());
  text.resize(2001 * kPageSize);
  served.root().write("pages-1.img", text);
  Client client = served.client({.compressions = offered});
  Inbox inbox;
  REQUIRE(client.wait_ready(10s));
  const Range all[] = {range_of(kTask, 16, 2000)};
  client.read(all, false);
  REQUIRE(client.wait(10s, inbox.events, [&] { return inbox.pages.size() == 2000; }));
  for (uint64_t i = 0; i < 2000; ++i) REQUIRE(inbox.pages[{kTask, 16 + i}] == text.substr(i * kPageSize, kPageSize));
  const bool packed = served.server().counters().bytes_sent < 1000 * kPageSize;
  CHECK(packed == (offered != 0 && compress != Compress::kAuto));  // within this machine it does not pay
}

TEST_CASE("pages that are not in the page cache are read by the ring") {
  Served served;
  const UniqueFd file(::open((served.root().path() / "pages-1.img").c_str(), O_RDONLY | O_CLOEXEC));
  REQUIRE(::fsync(file.get()) == 0);
  REQUIRE(::posix_fadvise(file.get(), 0, 0, POSIX_FADV_DONTNEED) == 0);
  Client client = served.client();
  Inbox inbox;
  REQUIRE(client.wait_ready(10s));
  const Range all[] = {range_of(kTask, 16, 2000)};
  client.read(all, false);
  REQUIRE(client.wait(30s, inbox.events, [&] { return inbox.pages.size() == 2000; }));
  for (const auto& [key, page] : inbox.pages) REQUIRE(page == test_page(42, key.second, some_zero(key.second)));
  struct statfs place;
  REQUIRE(::fstatfs(file.get(), &place) == 0);
  if (place.f_type != TMPFS_MAGIC) CHECK(served.server().counters().reads_disk > 0);
}

TEST_CASE("who breaks the protocol is put out, others go on") {
  Served served;
  Client good = served.client();
  REQUIRE(good.wait_ready(10s));
  std::string damaged = frame(FrameType::kRead, 0, 1, read_all_pages());
  damaged[30] ^= 1;
  FrameHeader endless = {.length = kMaxPayload, .type = FrameType::kRead};
  const std::vector<Range> many(kMaxRanges + 1, range_of(kTask, 16, 1));
  const Range much[] = {range_of(kTask, 16, kMaxReadPages + 1)};
  const std::string bad[] = {damaged, bytes_of(endless), frame(FrameType::kPages, 0, 1, ""), frame(FrameType{77}, 0, 1, ""), frame(FrameType::kRead, 0, 1, "x"),
                             frame(FrameType::kRead, 0, 1, encode(many)), frame(FrameType::kRead, 0, 1, encode(much)), frame(FrameType::kPing, 0, 1, "x"),
                             frame(FrameType::kOpen, 0, 1, encode(Open{})), frame(FrameType::kFile, 0, 1, "../inventory.img")};
  for (const std::string& bytes : bad) {
    const UniqueFd socket = opened(served);
    send_all(socket.get(), bytes);
    CHECK(receive(socket.get(), 1).empty());
  }
  for (const std::string& first : {frame(FrameType::kRead, 0, 1, read_all_pages()), frame(FrameType::kOpen, 0, 1, encode(Open{.name = "../x"}))}) {
    const UniqueFd socket = served.connect();
    send_all(socket.get(), bytes_of(hello()));
    CHECK(receive(socket.get(), 4) == kHelloAnswer);
    send_all(socket.get(), first);
    CHECK(receive(socket.get(), 1).empty());
  }
  const UniqueFd random = served.connect();
  send_all(random.get(), std::string(4096, 'x'));
  CHECK(receive(random.get(), 1).empty());
  CHECK(served.server().counters().broken == std::size(bad) + 3);
  CHECK(good.list_files(10s));
}

TEST_CASE("a message may come byte by byte") {
  Served served;
  const UniqueFd socket = served.connect();
  const Range one[] = {range_of(kTask, 16, 1)};
  for (const char c : bytes_of(hello()) + frame(FrameType::kOpen, 0, 1, encode(Open{})) + frame(FrameType::kRead, kUrgent, 2, encode(one)))
    send_all(socket.get(), std::string_view(&c, 1));
  const size_t before = 4 + sizeof(FrameHeader) + 16 + sizeof(FrameHeader) + sizeof(RunHeader);
  CHECK(receive(socket.get(), before + kPageSize).substr(before) == test_page(42, 16));
}

TEST_CASE("who does not read holds up nobody, and little memory") {
  Served served({.alone = {}, .workers = 1});
  std::vector<UniqueFd> slow;
  for (int i = 0; i < 100; ++i) {
    slow.push_back(opened(served));
    for (int k = 0; k < 8; ++k) send_all(slow.back().get(), frame(FrameType::kRead, 0, 2, read_all_pages()));
  }
  Client client = served.client();
  Inbox inbox;
  REQUIRE(client.wait_ready(10s));
  const Range all[] = {range_of(kTask, 16, 2000)};
  client.read(all, false);
  REQUIRE(client.wait(30s, inbox.events, [&] { return inbox.pages.size() == 2000; }));
  // All of them have at most two small chunks each, and few big ones.
  CHECK(served.server().counters().buffer_bytes <= (ChunkPool::kManyBig + ChunkPool::kKept) * Chunk::kBig + 202 * Chunk::kSmall);
  // It is not lost either: the first reads on, to the last frame.
  const std::string first = receive(slow[0].get(), 8 << 20);
  CHECK(first.size() == 8 << 20);
}

TEST_CASE("who asks for more than may wait is not read from until it takes its answers") {
  Served served({.alone = {}, .workers = 1});
  const UniqueFd socket = opened(served);
  const std::vector<Range> ranges(kMaxRanges, range_of(kTask, 16, 1));
  const std::string request = frame(FrameType::kRead, 0, 2, encode(ranges));
  // Far more than 8192 ranges: the sender has to wait in the end.
  size_t sent = 0;
  for (int i = 0; i < 2000; ++i) {
    pollfd p = {socket.get(), POLLOUT, 0};
    if (::poll(&p, 1, 200) == 0) break;
    const ssize_t n = ::send(socket.get(), request.data() + sent % request.size(), request.size() - sent % request.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    REQUIRE(n > 0);
    sent += static_cast<size_t>(n);
  }
  CHECK(sent < 2000 * request.size());
  CHECK(served.server().counters().queued <= 20);
  const size_t answers = sent / request.size() * kMaxRanges * (sizeof(FrameHeader) + sizeof(RunHeader) + kPageSize);
  for (size_t at = 0; at < answers;) {
    const size_t n = receive(socket.get(), std::min<size_t>(1 << 20, answers - at)).size();
    REQUIRE(n > 0);
    at += n;
  }
}

TEST_CASE("64 clients at once") {
  Served served;
  std::vector<std::thread> threads;
  std::atomic<int> good = 0;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&] {
      std::vector<Client> clients;
      for (int i = 0; i < 16; ++i) {
        auto stream = plain_stream(served.connect());
        if (stream) clients.push_back(std::move(*Client::start(std::move(*stream), {})));
      }
      const Range all[] = {range_of(kTask, 16, 2000)};
      for (Client& client : clients)
        if (client.wait_ready(30s)) client.read(all, false), (void)client.flush().has_value();
      for (Client& client : clients) {
        Inbox inbox;
        if (!client.wait(30s, inbox.events, [&] { return inbox.pages.size() == 2000; })) continue;
        good += std::ranges::all_of(inbox.pages, [](const auto& page) { return page.second == test_page(42, page.first.second, some_zero(page.first.second)); });
      }
    });
  for (std::thread& thread : threads) thread.join();
  CHECK(good == 64);
}

TEST_CASE("more clients than allowed are turned away") {
  Served served({.max_clients = 2, .alone = {}});
  Client first = served.client();
  REQUIRE(first.wait_ready(10s));
  {
    Client second = served.client();
    REQUIRE(second.wait_ready(10s));
    const UniqueFd third = served.connect();
    CHECK(receive(third.get(), 1).empty());
    CHECK(served.server().counters().refused == 1);
  }
  // When one has gone there is room again.
  for (;;) {
    Client another = served.client();
    if (another.wait_ready(10s)) break;
  }
  CHECK(first.list_files(10s));
}

// The descriptors of all rings of this process.
std::vector<int> rings() {
  std::vector<int> found;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code gone;
    if (std::filesystem::read_symlink(entry.path(), gone) == "anon_inode:[io_uring]") found.push_back(std::stoi(entry.path().filename()));
  }
  return found;
}

TEST_CASE("a worker whose ring breaks leaves nobody waiting, and the others go on") {
  std::atomic<int> left = -1;
  Served served({.alone = {}, .failed = [&](size_t n) { left = static_cast<int>(n); }, .workers = 2});
  std::vector<Client> clients;
  for (int i = 0; i < 16; ++i) clients.push_back(served.client());
  for (Client& client : clients) REQUIRE(client.wait_ready(10s));
  const UniqueFd other(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  REQUIRE(rings().size() == 2);
  // Past the thread sanitizer, which would remember who has this number, and not see that the server has closed it since.
  REQUIRE(::syscall(SYS_dup3, other.get(), rings().front(), O_CLOEXEC) >= 0);
  // Each of them is answered, or sees the end at once.
  for (Client& client : clients) {
    const auto listed = client.list_files(10s);
    if (!listed) CHECK(listed.error().code != ETIMEDOUT);
  }
  for (int i = 0; i < 10'000 && left < 0; ++i) std::this_thread::sleep_for(1ms);
  CHECK(left == 1);
  // The broken ring may get hold of one connection more before the kernel has put it away: that client has to try again.
  int good = 0;
  for (int tries = 0; tries < 20 && good < 16; ++tries) {
    Client client = served.client();
    good += client.wait_ready(2s) && client.list_files(10s);
  }
  CHECK(good == 16);
}

TEST_CASE("a socket that is handed over is used as it is") {
  Served served({.alone = {}, .make_stream = [](UniqueFd) -> Result<std::unique_ptr<Stream>> { return error(EPROTO, "not this one"); }});
  int ends[2];
  REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
  served.server().adopt(UniqueFd(ends[1]));
  auto client = Client::start(std::move(*plain_stream(UniqueFd(ends[0]))), {});
  REQUIRE(client);
  CHECK(client->wait_ready(10s));
  CHECK(client->list_files(10s));
}

TEST_CASE("a server without descriptors accepts again when it has some") {
  rlimit before;
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
  const rlimit few = {200, before.rlim_max};
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &few) == 0);  // the kernel notes it with each operation, so it comes first
  {
    const image::CapturedLog log;
    Served served;
    UniqueFd client(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    std::vector<UniqueFd> all;
    while (const int fd = ::dup(0)) {
      if (fd < 0) break;
      all.emplace_back(fd);
    }
    served.connect(client);
    const CriuHeader greeting = hello();
    // Nothing is checked before there are descriptors again: where it meets a type for the first time, the sanitizer asks the
    // kernel through a pipe whether an object's memory can be read, and takes it for damaged when it gets no pipe.
    const ssize_t sent = ::send(client.get(), &greeting, sizeof greeting, MSG_NOSIGNAL);
    pollfd p = {client.get(), POLLIN, 0};
    const int early = ::poll(&p, 1, 200);
    all.clear();
    CHECK(sent == sizeof greeting);
    CHECK(early == 0);
    CHECK(::poll(&p, 1, 10'000) == 1);
    CHECK(log.has("cannot accept connections for now: Too many open files; raise the limit of open files (LimitNOFILE= of the unit, ulimit -n)"));
  }
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &before) == 0);
}

TEST_CASE("what a peer takes is seen, however slow it is") {
  for (const bool internet : {true, false}) {
    int ends[2];
    UniqueFd listener;
    if (internet) {
      auto made = listen_on("127.0.0.1", 0);
      REQUIRE(made);
      auto to = connect_to("127.0.0.1", static_cast<uint16_t>(made->port), 10'000);
      REQUIRE(to);
      ends[0] = to->release();
      pollfd p = {made->socket.get(), POLLIN, 0};
      REQUIRE(::poll(&p, 1, 10'000) == 1);
      ends[1] = ::accept4(made->socket.get(), nullptr, nullptr, SOCK_CLOEXEC);
    } else {
      REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    }
    const UniqueFd sender(ends[0]), reader(ends[1]);
    std::string bytes(1 << 20, 'x');
    // Until nothing more goes, for a while: what has gone is taken by the kernel at the other end.
    pollfd p = {sender.get(), POLLOUT, 0};
    do {
      while (::send(sender.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT) > 0) {
      }
    } while (::poll(&p, 1, 200) > 0);
    const uint64_t before = mark_of_taken(sender.get());
    CHECK(mark_of_taken(sender.get()) == before);
    uint64_t after = before;
    for (int i = 0; i < 10'000 && after == before; ++i) {
      (void)!::recv(reader.get(), bytes.data(), bytes.size(), MSG_DONTWAIT);
      after = mark_of_taken(sender.get());
      if (after == before) std::this_thread::sleep_for(1ms);
    }
    CHECK(after != before);
  }
}

TEST_CASE("an end in good order answers what was asked for") {
  Served served;
  const UniqueFd socket = opened(served);
  const Range all[] = {range_of(kTask, 4096, 1), range_of(kTask, 4096, 1)};
  for (int i = 0; i < 200; ++i) send_all(socket.get(), frame(FrameType::kRead, 0, 2, encode(all)));
  // All 200 are known to the server when the last one is.
  send_all(socket.get(), frame(FrameType::kPing, 0, 3, ""));
  while (served.server().counters().requests_bulk < 200) std::this_thread::yield();
  const size_t size = 400 * (sizeof(FrameHeader) + sizeof(RunHeader) + kPageSize);
  size_t received = 0;
  std::thread reader([&] { received = receive(socket.get(), size + 1000).size(); });
  const bool drained = served.server().drain(10s);
  reader.join();
  CHECK(drained);
  CHECK(received >= size);
}

TEST_CASE("a file that was cut fails its request, not the server") {
  Served served;
  Client client = served.client();
  Inbox inbox;
  REQUIRE(client.wait_ready(10s));
  const Range one[] = {range_of(kTask, 16, 1)};
  client.read(one, false);
  REQUIRE(client.wait(10s, inbox.events, [&] { return inbox.pages.size() == 1; }));
  std::filesystem::resize_file(served.root().path() / "pages-1.img", 4 * kPageSize);
  const Range more[] = {range_of(kTask, 16, 1000)};
  client.read(more, false);
  REQUIRE(client.wait(10s, inbox.events, [&] { return inbox.failures.size() == 1; }));
  CHECK(inbox.failures[0].code == EIO);
  client.read(one, true);
  inbox.pages.clear();
  REQUIRE(client.wait(10s, inbox.events, [&] { return inbox.pages.size() == 1; }));
}

TEST_CASE("a patience of years is waited in slices too") {
  Served served;
  Client client = served.client();
  Inbox inbox;
  REQUIRE(client.wait_ready(10s));
  int looks = 0;
  // Nothing comes: that it looks again shows that it did not wait for ever.
  CHECK(client.wait(std::chrono::seconds(INT_MAX), inbox.events, [&] { return ++looks == 2; }));
}

}  // namespace
}  // namespace faultline::pageserver
