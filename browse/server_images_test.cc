// A checkpoint with a page server looks as it does in its directory.
#include "browse/server_images.h"

#include <fcntl.h>

#include <atomic>
#include <catch2/catch.hpp>
#include <filesystem>
#include <map>
#include <mutex>
#include <thread>

#include "browse/snapshot.h"
#include "browse/test_golden.h"
#include "core/image/scratch_dir.h"
#include "pageserver/catalog.h"
#include "pageserver/endpoint.h"
#include "pageserver/server.h"

using namespace faultline;
using namespace faultline::browse;
namespace fs = std::filesystem;

namespace {


class Served {
 public:
  Served() {
    fs::copy(kGoldenImages, root_.path() / "zoo", fs::copy_options::recursive);
    catalog_ = std::make_unique<pageserver::Catalog>(UniqueFd(::open(root_.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)));
    start(0);
  }
  void start(int port) {
    auto listener = pageserver::listen_on("127.0.0.1", static_cast<uint16_t>(port));
    if (!listener) FAIL(listener.error().what);
    REQUIRE(listener);
    port_ = listener->port;
    auto server = pageserver::Server::start(*catalog_, std::move(listener->socket), {});
    REQUIRE(server);
    server_ = std::move(*server);
  }
  void restart() {
    server_.reset();
    start(port_);
  }
  ServerOptions options(const std::string& checkpoint) const {
    ServerOptions options;
    options.checkpoint = checkpoint;
    options.timeout = std::chrono::seconds(10);
    options.name = "faultline://test/" + checkpoint;
    options.connect = [port = port_]() -> Result<std::unique_ptr<pageserver::Stream>> {
      auto addresses = TRY(pageserver::resolve("127.0.0.1", static_cast<uint16_t>(port)));
      UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
      if (::connect(socket.get(), addresses[0].get(), addresses[0].length) != 0) return sys_error("connect");
      return pageserver::plain_stream(std::move(socket));
    };
    return options;
  }
  const pageserver::Server& server() const { return *server_; }

 private:
  image::ScratchDir root_;
  std::unique_ptr<pageserver::Catalog> catalog_;
  std::unique_ptr<pageserver::Server> server_;
  int port_ = 0;
};

std::unique_ptr<Snapshot> open_snapshot(Result<std::unique_ptr<Images>> images) {
  REQUIRE(images);
  auto snapshot = Snapshot::open(std::move(*images));
  REQUIRE(snapshot);
  return std::move(*snapshot);
}

// All of a process's memory that has data, with its addresses.
std::map<Vaddr, std::string> contents_of(Snapshot& snapshot, uint32_t pid) {
  const auto memory = snapshot.memory(pid);
  REQUIRE(memory);
  std::map<Vaddr, std::string> contents;
  for (const auto& area : (*memory)->areas())
    for (Vaddr at = area.vma->start; at < area.vma->end;) {
      const auto run = (*memory)->run_at(at, area.vma->end);
      if (run.kind == AddressSpace::Kind::kStored || run.kind == AddressSpace::Kind::kShared) {
        std::string bytes(run.end - run.start, '\0');
        const auto n = (*memory)->read(at, std::as_writable_bytes(std::span(bytes)));
        REQUIRE(n);
        REQUIRE(*n == bytes.size());
        contents[at] = std::move(bytes);
      }
      at = run.end;
    }
  return contents;
}

}  // namespace

TEST_CASE("memory and images are the same from a server, and only what is read is fetched") {
  Served served;
  auto here = open_snapshot(images_in(kGoldenImages)), there = open_snapshot(images_at(served.options("zoo")));
  CHECK(there->damage().empty());
  REQUIRE(there->processes().size() == here->processes().size());
  CHECK(served.server().counters().requests_demand == 0);
  for (const uint32_t pid : {1736u, 1742u}) {
    // Runs are cut where the files of the directory are, which the server does not tell: compared byte by byte.
    std::string ours, theirs;
    for (const auto& [at, bytes] : contents_of(*here, pid)) ours += bytes;
    for (const auto& [at, bytes] : contents_of(*there, pid)) theirs += bytes;
    CHECK(ours.size() > 100000);
    CHECK(ours == theirs);
  }
  const auto files = here->files(), fetched = there->files();
  REQUIRE(files);
  REQUIRE(fetched);
  CHECK((*files)->size() == (*fetched)->size());
}

TEST_CASE("bytes in the middle of pages, and over several of them") {
  Served served;
  auto here = open_snapshot(images_in(kGoldenImages)), there = open_snapshot(images_at(served.options("zoo")));
  const auto a = here->memory(1736), b = there->memory(1736);
  REQUIRE(a);
  REQUIRE(b);
  constexpr Vaddr kPrivate = 0x7f04bc2c8000;
  for (const Vaddr at : {kPrivate, kPrivate + 1, kPrivate + 4090, kPrivate + 8191}) {
    char ours[20000], theirs[20000];
    REQUIRE((*a)->read(at, std::as_writable_bytes(std::span(ours))));
    REQUIRE((*b)->read(at, std::as_writable_bytes(std::span(theirs))));
    CHECK(std::equal(std::begin(ours), std::end(ours), theirs));
  }
}

TEST_CASE("a server that was restarted is found again") {
  Served served;
  auto there = open_snapshot(images_at(served.options("zoo")));
  served.restart();
  CHECK(contents_of(*there, 1736).size() > 10);
}

TEST_CASE("many threads share few connections") {
  Served served;
  auto there = open_snapshot(images_at(served.options("zoo")));
  const auto memory = there->memory(1736);
  REQUIRE(memory);
  std::vector<std::thread> threads;
  std::atomic<int> good = 0;
  std::mutex mutex;
  std::string failure;  // the last one
  for (int i = 0; i < 16; ++i)
    threads.emplace_back([&] {
      for (int k = 0; k < 20; ++k) {
        char text[64];
        const auto n = (*memory)->read(0x560305fc2000, std::as_writable_bytes(std::span(text)));
        good += n && std::string_view(text).starts_with("the first page holds this sentence");
        std::lock_guard lock(mutex);
        if (!n) failure = n.error().what;
      }
    });
  for (std::thread& thread : threads) thread.join();
  CHECK(failure == "");
  CHECK(good == 16 * 20);
}

TEST_CASE("a checkpoint that is not there is told with its URL") {
  Served served;
  const auto images = images_at(served.options("nothing"));
  REQUIRE_FALSE(images);
  CHECK(images.error().code == ENOENT);
  CHECK(image::has(images.error().what, "faultline://test/nothing"));
}
