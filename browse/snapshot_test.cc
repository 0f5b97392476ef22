// A checkpoint by CRIU 4.2, looked at.
#include "browse/snapshot.h"

#include <catch2/catch.hpp>
#include <cstring>
#include <filesystem>

#include "browse/test_golden.h"
#include "core/image/scratch_dir.h"

using namespace faultline;
using namespace faultline::browse;
namespace fs = std::filesystem;

namespace {

// What the program printed about itself (zoo.facts).
constexpr uint32_t kPid = 1736, kChild = 1742, kZombie = 1741;
constexpr Vaddr kSecret = 0x560305fc2000, kPrivate = 0x7f04bc2c8000, kSharedMemory = 0x7f04bc4f3000, kMemfd = 0x7f04bc4ef000, kAnswer = 0x560305fc0190;

std::string text_at(const AddressSpace& memory, Vaddr at) {
  std::string bytes(64, '\0');
  auto n = memory.read(at, std::as_writable_bytes(std::span(bytes)));
  REQUIRE(n);
  return bytes.substr(0, std::min(*n, std::strlen(bytes.c_str())));
}

}  // namespace

TEST_CASE("what the program held is found at its addresses") {
  auto snapshot = open_for_test(kGoldenImages);
  CHECK(snapshot->processes().size() == 3);
  CHECK(snapshot->damage().empty());
  REQUIRE(snapshot->process(kPid));
  CHECK(snapshot->process(kPid)->threads.size() == 4);
  CHECK(snapshot->process(kPid)->children.size() == 2);
  CHECK(snapshot->process(kZombie)->threads.size() == 1);
  const auto memory = snapshot->memory(kPid);
  REQUIRE(memory);
  CHECK(text_at(**memory, kSecret) == "the first page holds this sentence");
  CHECK(text_at(**memory, kSecret + 8192) == "and the third page this one");
  CHECK(text_at(**memory, kSecret + 8196) == "the third page this one");
  CHECK(text_at(**memory, kPrivate + 2 * 4096) == "private page 2");
  CHECK(text_at(**memory, kPrivate + 4096).empty());
  CHECK(text_at(**memory, kSharedMemory + 4096) == "shared between parent and child");
  CHECK(text_at(**memory, kMemfd) == "in a memfd");
  long answer = 0;
  REQUIRE((*memory)->read(kAnswer, std::as_writable_bytes(std::span(&answer, 1))));
  CHECK(answer == 424242);
  const auto child = snapshot->memory(kChild);
  REQUIRE(child);
  CHECK(text_at(**child, kSharedMemory + 4096) == "shared between parent and child");
  CHECK_FALSE(snapshot->memory(kZombie));
}

TEST_CASE("runs follow each other without gaps, and holes are told from data") {
  auto snapshot = open_for_test(kGoldenImages);
  const auto memory = snapshot->memory(kPid);
  REQUIRE(memory);
  CHECK((*memory)->run_at(0, kSecret).kind == AddressSpace::Kind::kHole);
  CHECK_FALSE((*memory)->read(0, std::as_writable_bytes(std::span(std::make_unique<char[]>(1).get(), 1))));
  const Vaddr end = kPrivate + 64 * kPageSize;
  unsigned stored = 0, zero = 0;
  for (Vaddr at = kPrivate; at < end;) {
    const auto run = (*memory)->run_at(at, end);
    REQUIRE(run.start == at);
    REQUIRE(run.end > at);
    stored += run.kind == AddressSpace::Kind::kStored, zero += run.kind == AddressSpace::Kind::kZero;
    at = run.end;
  }
  CHECK(stored == 32);
  CHECK(zero == 32);
  CHECK((*memory)->next(true, kPrivate + 4096, end) == kPrivate + 2 * 4096);
  CHECK((*memory)->next(false, kPrivate, end) == kPrivate + 4096);
}

TEST_CASE("names of areas are those of /proc/PID/maps") {
  auto snapshot = open_for_test(kGoldenImages);
  const auto memory = snapshot->memory(kPid);
  REQUIRE(memory);
  CHECK((*memory)->area_at(kMemfd)->path == "/memfd:zoo-memfd (deleted)");
  CHECK((*memory)->area_at(kSharedMemory)->path == "/dev/zero (deleted)");
  CHECK((*memory)->area_at((*memory)->mm().mm_start_code)->path == "/tmp/zoo/zoo");
  std::string all;
  for (const auto& area : (*memory)->areas()) all += area.path + "\n";
  for (const char* name : {"[heap]", "[stack]", "[vdso]", "[vvar]"}) CHECK(image::has(all, name));
}

TEST_CASE("what is damaged harms its own part only") {
  image::ScratchDir scratch;
  fs::copy(kGoldenImages, scratch.path(), fs::copy_options::recursive);
  const auto pagemap = scratch.path() / fmt::format("pagemap-{}.img", kPid);
  fs::resize_file(pagemap, fs::file_size(pagemap) / 2 + 1);
  fs::remove(scratch.path() / fmt::format("mm-{}.img", kChild));
  fs::remove(scratch.path() / "inventory.img");
  auto snapshot = open_for_test(scratch.path());
  CHECK(snapshot->damage().size() == 1);
  const auto memory = snapshot->memory(kPid);
  REQUIRE(memory);
  CHECK_FALSE((*memory)->damage().empty());
  CHECK(text_at(**memory, kSecret) == "the first page holds this sentence");
  CHECK(text_at(**memory, kMemfd) == "in a memfd");
  CHECK((*memory)->run_at((*memory)->mm().mm_start_stack, UINT64_MAX).kind == AddressSpace::Kind::kLost);
  CHECK_FALSE(snapshot->memory(kChild));
  CHECK(snapshot->core(kChild));
}

TEST_CASE("pages that a file does not have are lost, not zeros") {
  image::ScratchDir scratch;
  fs::copy(kGoldenImages, scratch.path(), fs::copy_options::recursive);
  for (const auto& file : fs::directory_iterator(scratch.path()))
    if (file.path().filename().string().starts_with("pages-")) fs::resize_file(file.path(), 0);
  auto snapshot = open_for_test(scratch.path());
  const auto memory = snapshot->memory(kPid);
  REQUIRE(memory);
  char byte = 0;
  CHECK_FALSE((*memory)->read(kSecret, std::as_writable_bytes(std::span(&byte, 1))));
  CHECK((*memory)->run_at(kPrivate + 4096, kPrivate + 8192).kind == AddressSpace::Kind::kZero);
}

TEST_CASE("the list of processes may be missing") {
  image::ScratchDir scratch;
  fs::copy(kGoldenImages, scratch.path(), fs::copy_options::recursive);
  fs::remove(scratch.path() / "pstree.img");
  auto snapshot = open_for_test(scratch.path());
  CHECK(snapshot->damage().size() == 1);
  CHECK(snapshot->processes().size() == 2);
  CHECK(snapshot->memory(kPid));
  fs::remove_all(scratch.path() / "inventory.img");
}

TEST_CASE("an empty directory is no checkpoint") {
  image::ScratchDir scratch;
  auto images = images_in(scratch.path());
  REQUIRE(images);
  const auto snapshot = Snapshot::open(std::move(*images));
  REQUIRE_FALSE(snapshot);
  CHECK(snapshot.error().code == ENOENT);
  CHECK_FALSE(images_in(scratch.path() / "nowhere"));
}
