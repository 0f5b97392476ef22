#include "pageserver/protocol.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cstring>

namespace faultline::pageserver {
namespace {

std::span<const std::byte> bytes_of(const std::string& s) { return std::as_bytes(std::span(s)); }

TEST_CASE("a frame is given back only when all of it is there, and only unharmed") {
  std::string wire;
  append_frame(wire, FrameType::kFile, kLast, 77, "pages-1.img");
  for (size_t n = 0; n < wire.size(); ++n) {
    const auto part = next_frame(bytes_of(wire).first(n));
    REQUIRE(part);
    CHECK_FALSE(*part);
  }
  const auto whole = next_frame(bytes_of(wire));
  REQUIRE((whole && *whole));
  CHECK((*whole)->header.id == 77);
  CHECK((*whole)->header.flags == kLast);
  CHECK((*whole)->size() == wire.size());
  for (size_t i = 0; i < wire.size(); ++i) {
    std::string damaged = wire;
    damaged[i] = static_cast<char>(damaged[i] ^ 4);
    const auto result = next_frame(bytes_of(damaged));
    // A longer length may only make it wait for more.
    CHECK((!result || !*result));
  }
}

TEST_CASE("a frame sealed in two pieces is the same as in one") {
  const std::string payload(10000, 'x');
  FrameHeader one = {.length = 0, .type = FrameType::kPages, .flags = 0, .id = 5, .check = 0}, two = one;
  seal(one, bytes_of(payload));
  seal(two, bytes_of(payload).first(32), bytes_of(payload).subspan(32));
  CHECK(std::memcmp(&one, &two, sizeof one) == 0);
  CHECK(intact(two, bytes_of(payload)));
}

TEST_CASE("messages come back as they were sent") {
  const Open open = {.version = 1, .page_size = 4096, .compressions = kOfferZstd, .client = 99, .name = "web/today"};
  const auto opened = decode_open(bytes_of(encode(open)));
  REQUIRE(opened);
  CHECK(opened->name == open.name);
  CHECK(opened->client == 99);
  CHECK(opened->compressions == kOfferZstd);
  const std::vector<Range> ranges = {{object_id(7, kTaskMemory), 0x7f0000000000, 3}, {object_id(9, kSharedMemory), 0, 1}};
  const auto read = decode_ranges(bytes_of(encode(ranges)));
  REQUIRE(read);
  CHECK(*read == ranges);
  const auto failed = decode_failed(bytes_of(encode(Failed{ENOENT, "no\nsuch"})));
  REQUIRE(failed);
  CHECK(failed->code == ENOENT);
  CHECK(failed->what == "no?such");
  const auto ready = decode_ready(bytes_of(encode(Ready{.compressed = Encoding::kLz4, .kind = SourceKind::kLive})));
  REQUIRE(ready);
  CHECK(ready->compressed == Encoding::kLz4);
}

TEST_CASE("names that lead out are not valid") {
  for (const char* good : {"", "a", "a/b", "..a", "a..", ".hidden"}) CHECK(valid_name(good));
  for (const char* bad : {"/", "/a", "a/", "a//b", ".", "..", "a/..", "../a", "a/./b"}) CHECK_FALSE(valid_name(bad));
  CHECK_FALSE(valid_name(std::string("a\0b", 3)));
  CHECK_FALSE(valid_name(std::string(300, 'a')));
}

TEST_CASE("ranges that cannot be, or are too many, are refused") {
  const auto refused = [](const Range& r) { return !decode_ranges(bytes_of(encode(std::span(&r, 1)))); };
  CHECK_FALSE(refused({object_id(1, kTaskMemory), 4096, 16384}));
  CHECK(refused({object_id(1, kTaskMemory), 4096, 16385}));
  CHECK(refused({object_id(1, kTaskMemory), 4096, 0}));
  CHECK(refused({object_id(1, kTaskMemory), 4097, 1}));
  CHECK(refused({object_id(1, kTaskMemory), uint64_t{1} << 47, 1}));
  CHECK(refused({object_id(1, 3), 4096, 1}));
  CHECK(refused({object_id(1, kSharedMemory), ~uint64_t{4095}, 2}));
  CHECK_FALSE(decode_ranges(bytes_of(encode(std::vector<Range>(kMaxRanges + 1, {object_id(1, kTaskMemory), 4096, 1})))));
}

TEST_CASE("a run whose contents cannot be so many pages is refused") {
  const auto decodes = [](RunHeader header, size_t size) {
    std::string payload(sizeof header + size, 'x');
    std::memcpy(payload.data(), &header, sizeof header);
    return decode_run(bytes_of(payload)).has_value();
  };
  const RunHeader two = {.object = object_id(1, kTaskMemory), .address = 4096, .pages = 2};
  RunHeader header = two;
  CHECK(decodes(header, 8192));
  CHECK_FALSE(decodes(header, 8191));
  header.encoding = Encoding::kZero;
  CHECK(decodes(header, 0));
  CHECK_FALSE(decodes(header, 1));
  header.encoding = Encoding::kLz4;
  CHECK(decodes(header, 100));
  CHECK_FALSE(decodes(header, 8192));
  header.encoding = static_cast<Encoding>(4);
  CHECK_FALSE(decodes(header, 100));
  header = two;
  header.pages = kMaxRunPages + 1;
  CHECK_FALSE(decodes(header, (kMaxRunPages + 1) * kPageSize));
}

// Leaves memory below the stack pointer as no call would: zeros, and one word.
[[gnu::noinline]] void leave_on_stack(size_t where, uint64_t word) {
  volatile uint64_t stack[512];
  for (size_t i = 0; i < std::size(stack); ++i) stack[i] = i == where ? word : 0;
}

TEST_CASE("what an earlier call has left on the stack does not change a check") {
  const std::string first(32, 'a'), second(4096, 'b');
  FrameHeader header = {.length = 0, .type = FrameType::kPages, .flags = 0, .id = 5, .check = 0};
  seal(header, bytes_of(first), bytes_of(second));
  const uint64_t right = header.check;
  REQUIRE(intact(header, bytes_of(first + second)));
  // The seed: the header's two words before the check, one over the other.
  uint64_t words[2];
  std::memcpy(words, &header, sizeof words);
  unsigned wrong = 0;
  for (size_t where = 0; where < 512; ++where) {
    leave_on_stack(where, words[0] ^ words[1]);
    seal(header, bytes_of(first), bytes_of(second));
    wrong += header.check != right;
  }
  CHECK(wrong == 0);
}

TEST_CASE("hello is a request that CRIU answers") {
  CHECK(hello().command == kCriuParent);
  CHECK(is_hello(hello()) == kVersion);
  CHECK_FALSE(is_hello({.command = kCriuGet, .pages = 1}));
  CHECK(modern_object(5 << 8 | 16) == object_id(5, kTaskMemory));
  CHECK(modern_object(5 << 8 | 28) == object_id(5, kSharedMemory));
  CHECK_FALSE(modern_object(5 << 8 | 99));
}

}  // namespace
}  // namespace faultline::pageserver
