#include "pageserver/receiver.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <thread>

#include "pageserver/test_checkpoint.h"

namespace faultline::pageserver {
namespace {

constexpr ObjectId kTask = object_id(42, kTaskMemory), kShared = object_id(7, kSharedMemory);

std::string message(uint32_t command, uint64_t object = 0, uint64_t page = 0, uint64_t pages = 0) {
  const CriuHeader header = {.command = command, .padding = 0, .pages = pages, .vaddr = page * kPageSize, .object = object};
  return {reinterpret_cast<const char*>(&header), sizeof header};
}

std::string add(ObjectId object, uint64_t page, uint64_t pages, uint32_t flags) {
  std::string bytes = message(criu_command(kCriuAddFlags, flags), object, page, pages);
  for (uint64_t i = 0; (flags & image::kPagePresent) && i < pages; ++i) bytes += test_page(id_of(object), page + i);
  return bytes;
}

Result<void> feed(Receiver& receiver, const std::string& bytes, size_t step = SIZE_MAX) {
  for (size_t at = 0; at < bytes.size(); at += std::min(step, bytes.size() - at))
    TRY(receiver.take(std::as_bytes(std::span(bytes)).subspan(at, std::min(step, bytes.size() - at))));
  return {};
}

size_t files_in(const image::ScratchDir& dir) {
  return static_cast<size_t>(std::distance(std::filesystem::directory_iterator(dir.path()), std::filesystem::directory_iterator()));
}

TEST_CASE("a dump's memory becomes images, however it is cut into pieces") {
  const size_t step = GENERATE(size_t{1} << 20, size_t{4099}, size_t{31});
  const image::ScratchDir scratch;
  const image::ImageDir dir = scratch.dir();
  {
    Receiver receiver(dir);
    REQUIRE(feed(receiver, message(kCriuOpen2, kTask) + add(kTask, 16, 3, 6) + add(kTask, 20, 5, 2) + add(kTask, 30, 1, 4), step));
    CHECK(receiver.take_answers() == std::string(1, '\0'));
    REQUIRE(feed(receiver, message(kCriuOpen, object_id(7, 28)) + add(kShared, 0, 2, 4) + message(kCriuClose), step));
    CHECK(receiver.take_answers() == std::string(4, '\0'));
    CHECK(receiver.closed());
    CHECK_FALSE(feed(receiver, "x"));
  }
  const auto map = image::load_pagemap(dir, "pagemap-42.img", false);
  REQUIRE(map);
  CHECK(map->pages_id == 0x10001);
  REQUIRE(map->entries.size() == 3);
  CHECK(*map->entries[0].flags == 6);
  CHECK(*map->entries[1].flags == 2);
  CHECK(*map->entries[1].nr_pages == 5);
  CHECK(image::contents(scratch.path() / "pages-65537.img") == test_page(42, 16) + test_page(42, 17) + test_page(42, 18) + test_page(42, 30));
  CHECK(image::contents(scratch.path() / "pages-65538.img") == test_page(7, 0) + test_page(7, 1));
  CHECK(image::load_pagemap(dir, "pagemap-shmem-7.img", false));
}

TEST_CASE("holes must be in the parent") {
  const image::ScratchDir scratch;
  write_object(scratch.path() / "old", kTask, 1, {{16, 10, 4}});
  std::filesystem::create_directories(scratch.path() / "new");
  std::filesystem::create_directory_symlink("../old", scratch.path() / "new/parent");
  const auto dir = image::ImageDir::open(scratch.path() / "new");
  REQUIRE(dir);
  {
    Receiver receiver(*dir);
    REQUIRE(feed(receiver, message(kCriuParent, kTask) + message(kCriuParent, kShared) + message(kCriuOpen2, kTask)));
    CHECK(receiver.take_answers() == std::string("\1\0\0\0\0\0\0\0\1", 9));
    REQUIRE(feed(receiver, add(kTask, 16, 4, 1) + add(kTask, 20, 1, 4) + message(kCriuHole, kTask, 21, 5) + message(kCriuClose)));
  }
  CHECK(image::load_page_index(*dir, "pagemap-42.img", [](UniqueFd, const std::string&) -> Result<uint32_t> { return 0; })->pages() == 10);
  Receiver receiver(*dir);
  CHECK_FALSE(feed(receiver, message(kCriuOpen2, kTask) + add(kTask, 25, 2, 1)));
}

TEST_CASE("what is there is called complete from CLOSE on, and not while the next dump comes") {
  const image::ScratchDir scratch;
  const image::ImageDir dir = scratch.dir();
  write_inventory(scratch.path());
  const std::string first = message(kCriuOpen2, kTask) + add(kTask, 16, 3, 4);
  {
    Receiver receiver(dir);
    REQUIRE(feed(receiver, first));
    CHECK_FALSE(dir.exists(image::kInventoryFile));
    CHECK_FALSE(dir.exists(image::kMemoryReceivedFile));
    REQUIRE(feed(receiver, message(kCriuClose)));
  }
  CHECK(image::contents(scratch.path() / image::kMemoryReceivedFile) == "3 pages of 1 objects\n");
  Receiver receiver(dir);
  REQUIRE(feed(receiver, first));
  CHECK_FALSE(dir.exists(image::kMemoryReceivedFile));
}

TEST_CASE("what does not end with CLOSE is not kept, and garbage is refused") {
  const image::ScratchDir scratch;
  const image::ImageDir dir = scratch.dir();
  const std::string open = message(kCriuOpen2, kTask);
  {
    Receiver receiver(dir);
    REQUIRE(feed(receiver, open + add(kTask, 16, 3, 4)));
    CHECK(files_in(scratch) == 2);
  }
  CHECK(files_in(scratch) == 0);
  const std::string bad[] = {
      message(99), message(kCriuGet, 42, 16, 1), message(kCriuOpen2, 0), message(kCriuOpen2, object_id(42, 3)), message(criu_command(kCriuClose, 1)),
      message(kCriuOpen2, object_id(uint64_t{1} << 50, kTaskMemory)), open + open, open + message(criu_command(kCriuAddFlags, 8), kTask, 16, 1),
      open + message(criu_command(kCriuAddFlags, 5), kTask, 16, 1), open + message(criu_command(kCriuAddFlags, 4), kTask, 16, 0),
      open + message(criu_command(kCriuAddFlags, 4), kTask, 16, UINT64_MAX), open + message(criu_command(kCriuAddFlags, 2), kTask, uint64_t{1} << 36, 1),
      open + add(kTask, 16, 3, 2) + add(kTask, 18, 1, 2)};
  for (const std::string& bytes : bad) {
    Receiver receiver(dir);
    CHECK_FALSE(feed(receiver, bytes));
  }
  CHECK(files_in(scratch) == 0);
}

TEST_CASE("over a socket: answers come back, and the end without CLOSE is an error") {
  const bool closes = GENERATE(true, false);
  const image::ScratchDir scratch;
  const image::ImageDir dir = scratch.dir();
  int ends[2];
  REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
  UniqueFd dump(ends[0]);
  auto stream = plain_stream(UniqueFd(ends[1]));
  REQUIRE(stream);
  const UniqueFd never(::eventfd(0, EFD_CLOEXEC));
  std::string answers;
  std::thread peer([&] {
    const std::string bytes = message(kCriuOpen2, kTask) + add(kTask, 16, 1000, 4) + (closes ? message(kCriuClose) : "");
    (void)write_all(dump.get(), bytes.data(), bytes.size(), "the socket").has_value();
    answers.resize(closes ? 5 : 1);
    for (size_t at = 0; at < answers.size();) {
      const ssize_t n = ::recv(dump.get(), answers.data() + at, answers.size() - at, 0);
      if (n <= 0) break;
      at += static_cast<size_t>(n);
    }
    dump.reset();
  });
  Receiver receiver(dir);
  const auto done = receive_pages(**stream, receiver, never.get(), true);
  peer.join();
  CHECK(done.has_value() == closes);
  CHECK(answers == std::string(closes ? 5 : 1, '\0'));
  CHECK(receiver.pages() == 1000);
}

}  // namespace
}  // namespace faultline::pageserver
