#include "browse/diff.h"

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>

#include "browse/test_golden.h"
#include "core/image/scratch_dir.h"

using namespace faultline;
using namespace faultline::browse;
namespace fs = std::filesystem;

namespace {

constexpr uint32_t kPid = 1736, kChild = 1742;
constexpr Vaddr kPrivate = 0x7f04bc2c8000;

struct Copy {
  Copy() { fs::copy(kGoldenImages, scratch.path(), fs::copy_options::recursive); }
  // Changes a byte of the page at `at`.
  void touch(Vaddr at) {
    auto original = open_for_test(kGoldenImages);
    const auto memory = original->memory(kPid);
    REQUIRE(memory);
    const auto run = (*memory)->run_at(at, at + 1);
    REQUIRE(run.kind == AddressSpace::Kind::kStored);
    const auto pagemap = image::load_pagemap(scratch.dir(), fmt::format("pagemap-{}.img", kPid), false);
    REQUIRE(pagemap);
    std::fstream file(scratch.path() / fmt::format("pages-{}.img", pagemap->pages_id), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(run.extent.offset));
    file.put('!');
    REQUIRE(file.good());
  }
  image::ScratchDir scratch;
};

}  // namespace

TEST_CASE("a checkpoint does not differ from itself, nor from its copy") {
  Copy copy;
  auto a = open_for_test(kGoldenImages), b = open_for_test(kGoldenImages), c = open_for_test(copy.scratch.path());
  for (Snapshot* other : {b.get(), c.get()}) {
    const auto diff = diff_process(*a, *other, kChild);
    REQUIRE(diff);
    CHECK(diff->changed_pages == 0);
    CHECK(diff->runs.empty());
    CHECK(diff->compared_pages > 100);
  }
}

TEST_CASE("changed pages are found where they are") {
  Copy copy;
  copy.touch(kPrivate + 6 * kPageSize + 5);
  copy.touch(kPrivate + 40 * kPageSize);
  auto a = open_for_test(copy.scratch.path()), b = open_for_test(kGoldenImages);
  const auto diff = diff_process(*a, *b, kPid);
  REQUIRE(diff);
  CHECK(diff->state == ProcessDiff::State::kChanged);
  CHECK(diff->changed_pages == 2);
  REQUIRE(diff->runs.size() == 2);
  CHECK(diff->runs[0].start == kPrivate + 6 * kPageSize);
  CHECK(diff->runs[1].start == kPrivate + 40 * kPageSize);
  CHECK(diff->runs[1].pages == 1);
  CHECK(image::has(diff_text(*diff), fmt::format("pages {:x}-{:x} (1)", kPrivate + 6 * kPageSize, kPrivate + 7 * kPageSize)));
  CHECK(image::has(diff_json(*diff), "\"changed_pages\": 2"));
}

TEST_CASE("a process that only one has, and one that neither has") {
  Copy copy;
  fs::remove(copy.scratch.path() / "pstree.img");
  fs::remove(copy.scratch.path() / fmt::format("mm-{}.img", kChild));
  auto a = open_for_test(kGoldenImages), b = open_for_test(copy.scratch.path());
  CHECK(all_pids(*a, *b).size() == 3);
  const auto here = diff_process(*a, *b, kChild), there = diff_process(*b, *a, kChild);
  REQUIRE(here);
  REQUIRE(there);
  CHECK(here->state == ProcessDiff::State::kOnlyHere);
  CHECK(there->state == ProcessDiff::State::kOnlyThere);
  CHECK(here->changed_pages > 10);
  CHECK(here->areas.size() == there->areas.size());
  CHECK_FALSE(diff_process(*a, *b, 99));
}

TEST_CASE("what is lost is unknown, not changed") {
  Copy copy;
  for (const auto& file : fs::directory_iterator(copy.scratch.path()))
    if (file.path().filename().string().starts_with("pages-")) fs::resize_file(file.path(), 0);
  auto a = open_for_test(copy.scratch.path()), b = open_for_test(kGoldenImages);
  const auto diff = diff_process(*a, *b, kPid);
  REQUIRE(diff);
  CHECK(diff->changed_pages == 0);
  CHECK(diff->unknown_pages > 30);
}
