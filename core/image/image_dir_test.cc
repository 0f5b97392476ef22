// The frame of images: what is written, and what is refused with file, offset and reason.
#include "core/image/image_dir.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>

#include "core/image/json.h"
#include "core/image/scratch_dir.h"

using namespace faultline;
using namespace faultline::image;

namespace {

constexpr const char* kFile = "fs-1.img";

std::string head(const Kind& kind) { return word(kCommonMagic) + word(kind.magic); }

std::string framed(const std::string& entry) { return word(static_cast<uint32_t>(entry.size())) + entry; }

std::string fs_entry_bytes() {
  std::string bytes;
  append(FsEntry{.cwd_id = 5, .root_id = 6, .umask = 18}, bytes);
  return bytes;
}

// What reading the only entry of an image with these bytes says.
Error refusal(const std::string& bytes) {
  ScratchDir scratch;
  scratch.write(kFile, bytes);
  const auto dir = scratch.dir();
  const auto entry = read_one<FsEntry>(dir, kFile, kFs);
  REQUIRE(!entry);
  CHECK(entry.error().code == EBADMSG);
  CHECK(has(entry.error().what, (scratch.path() / kFile).string() + ": at offset "));
  return entry.error();
}

}  // namespace

TEST_CASE("an image is its two magic numbers and its entries, each with its size") {
  ScratchDir scratch;
  const auto dir = scratch.dir();
  REQUIRE(write_one(dir, kFile, kFs, FsEntry{.cwd_id = 5, .root_id = 6, .umask = 18}));
  CHECK(contents(scratch.path() / kFile) == head(kFs) + framed("\x08\x05\x10\x06\x18\x12"));
  const auto entry = read_one<FsEntry>(dir, kFile, kFs);
  REQUIRE(entry);
  CHECK(entry->root_id == 6);
}

TEST_CASE("inventory and service files have their own heads") {
  ScratchDir scratch;
  const auto dir = scratch.dir();
  REQUIRE(write_one(dir, "inventory.img", kInventory, InventoryEntry{.img_version = 2}));
  CHECK(contents(scratch.path() / "inventory.img") == word(kInventory.magic) + framed("\x08\x02"));
  REQUIRE(write_one(dir, "stats-dump", kStats, StatsEntry{}));
  CHECK(contents(scratch.path() / "stats-dump") == word(kServiceMagic) + word(kStats.magic) + framed(""));
}

TEST_CASE("an image without entries is not left behind, nor is one of an earlier dump") {
  ScratchDir scratch;
  const auto dir = scratch.dir();
  scratch.write(kFile, "old");
  auto writer = Writer::create(dir, kFile, kFs);
  REQUIRE(writer);
  REQUIRE(writer->close());
  CHECK(!dir.exists(kFile));
  const auto all = read_all<FsEntry>(dir, kFile, kFs);
  REQUIRE(all);
  CHECK(all->empty());
}

TEST_CASE("images of format version 1 have no common head") {
  ScratchDir scratch;
  const auto dir = scratch.dir();
  scratch.write(kFile, word(kFs.magic) + framed(fs_entry_bytes()));
  CHECK(read_one<FsEntry>(dir, kFile, kFs, true));
  CHECK(!read_one<FsEntry>(dir, kFile, kFs));
}

TEST_CASE("a wrong head is refused with the number found") {
  CHECK(has(refusal("garbage!garbage!").what, "at offset 0: the magic number 0x62726167 is not that of an image"));
  CHECK(has(refusal(word(kServiceMagic) + word(kFs.magic)).what, "at offset 0: the magic number 0x55105940"));
  CHECK(has(refusal(head(kMm)).what, "at offset 4: the magic number 0x57492820 is not that of FS"));
  CHECK(has(refusal("").what, "at offset 0: the file ends inside a number"));
  CHECK(has(refusal(word(kCommonMagic)).what, "at offset 4: the file ends inside a number"));
}

TEST_CASE("a malformed entry is refused with its offset") {
  const std::string good = framed(fs_entry_bytes());
  CHECK(has(refusal(head(kFs)).what, "at offset 8: an entry is expected here"));
  CHECK(has(refusal(head(kFs) + "\x01\x02").what, "at offset 8: the file ends inside a number"));
  CHECK(has(refusal(head(kFs) + good.substr(0, good.size() - 1)).what,
            "at offset 8: an entry of 6 bytes is announced, but 5 bytes are left"));
  CHECK(has(refusal(head(kFs) + word(0xffffffff)).what, "at offset 8: an entry of 4294967295 bytes is announced, but 0 bytes are left"));
  CHECK(has(refusal(head(kFs) + framed("\x08\x05")).what, "at offset 8: a required field of fs_entry is missing"));
  CHECK(has(refusal(head(kFs) + framed("\x08\xff")).what, "at offset 8: not a fs_entry"));
}

TEST_CASE("sizes are checked before memory is taken, even where the file is as large as it says") {
  ScratchDir scratch;
  const auto dir = scratch.dir();
  // The files have holes: they take no space.
  scratch.write(kFile, head(kFs) + word(3u << 30));
  REQUIRE(::truncate((scratch.path() / kFile).c_str(), 16ll << 30) == 0);
  const auto entry = read_one<FsEntry>(dir, kFile, kFs);
  REQUIRE(!entry);
  CHECK(has(entry.error().what, "at offset 8: an entry of 3221225472 bytes is announced; no entry has more than"));

  auto reader = Reader::open(dir, kFile, kFs);
  REQUIRE(reader);
  const auto payload = reader->payload(3ull << 30);
  REQUIRE(!payload);
  CHECK(has(payload.error().what, "at offset 8: 3221225472 bytes of data are announced; at most"));
  CHECK(!reader->skip(UINT64_MAX));
}

TEST_CASE("what is not a regular file is refused, and nothing waits for a FIFO") {
  ScratchDir scratch;
  const auto dir = scratch.dir();
  REQUIRE(::mkfifo((scratch.path() / "fifo").c_str(), 0600) == 0);
  std::filesystem::create_directory(scratch.path() / "directory");
  for (const char* name : {"fifo", "directory"}) {
    const auto reader = Reader::open(dir, name, kFs);
    REQUIRE(!reader);
    CHECK(has(reader.error().what, std::string(name) + ": not a regular file"));
  }
}

TEST_CASE("a payload that goes past the end of the file is refused") {
  ScratchDir scratch;
  std::string entry;
  append(PipeDataEntry{.pipe_id = 1, .bytes = 10}, entry);
  scratch.write("pipes-data.img", head(kPipesData) + framed(entry) + "only9byte");
  UniqueFd fd(::open((scratch.path() / "pipes-data.img").c_str(), O_RDONLY | O_CLOEXEC));
  const auto json = decode_json(fd.get(), "pipes-data.img");
  REQUIRE(!json);
  CHECK(json.error().what == "pipes-data.img: at offset 16: 10 bytes of data are announced, but 9 are left");
}

TEST_CASE("JSON of an image whose text would fill the memory is refused") {
  ScratchDir scratch;
  std::string entry;
  append(GhostFileEntry{.mode = S_IFREG}, entry);
  scratch.write("ghost-file-1.img", head(kGhostFile) + framed(entry));
  REQUIRE(::truncate((scratch.path() / "ghost-file-1.img").c_str(), 2ll << 30) == 0);
  UniqueFd fd(::open((scratch.path() / "ghost-file-1.img").c_str(), O_RDONLY | O_CLOEXEC));
  const auto json = decode_json(fd.get(), "ghost-file-1.img");
  REQUIRE(!json);
  CHECK(json.error().code == EFBIG);
  CHECK(has(json.error().what, "ghost-file-1.img: at offset "));
}
