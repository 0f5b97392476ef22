// What is told of a checkpoint: parents, recordings, names that a terminal must not obey.
#include "browse/summary.h"

#include <catch2/catch.hpp>
#include <filesystem>

#include "browse/heat.h"
#include "browse/test_golden.h"
#include "core/image/present.h"
#include "core/image/scratch_dir.h"
#include "core/image/working_set.h"

using namespace faultline;
using namespace faultline::browse;
namespace fs = std::filesystem;

namespace {

constexpr uint32_t kPid = 1736;

const ProcessSummary& process_of(const Summary& summary, uint32_t pid) {
  const auto found = std::ranges::find(summary.processes, pid, &ProcessSummary::pid);
  REQUIRE(found != summary.processes.end());
  return *found;
}

}  // namespace

TEST_CASE("pages in a parent are told from one's own") {
  image::ScratchDir scratch;
  const fs::path child = scratch.path() / "child";
  fs::copy(kGoldenImages, scratch.path() / "parent");
  fs::copy(kGoldenImages, child);
  fs::create_symlink("../parent", child / "parent");
  auto dir = image::ImageDir::open(child);
  REQUIRE(dir);
  auto map = image::load_pagemap(*dir, "pagemap-1736.img", false);
  REQUIRE(map);
  auto writer = image::Writer::create(*dir, "pagemap-1736.img", image::kPagemap);
  REQUIRE(writer);
  REQUIRE(writer->put(image::PagemapHead{.pages_id = map->pages_id}));
  for (image::PagemapEntry& entry : map->entries) {
    entry.flags = image::kPageParent;
    REQUIRE(writer->put(entry));
  }
  REQUIRE(writer->close());
  const Summary before = summarize(*open_for_test(kGoldenImages)), after = summarize(*open_for_test(child));
  const Bytes &own = process_of(before, kPid).bytes, &inherited = process_of(after, kPid).bytes;
  CHECK(of(own, Part::kStored) > 0);
  CHECK(of(own, Part::kParents) == 0);
  CHECK(of(inherited, Part::kStored) == 0);
  CHECK(of(inherited, Part::kParents) == of(own, Part::kStored));
  CHECK(of(inherited, Part::kZero) == of(own, Part::kZero));
  CHECK_FALSE(after.damaged());
}

TEST_CASE("a recording is laid over the stored pages") {
  image::ScratchDir scratch;
  fs::copy(kGoldenImages, scratch.path(), fs::copy_options::recursive);
  auto snapshot = open_for_test(kGoldenImages);
  const auto pages = snapshot->images().memory("pagemap-1736.img");
  REQUIRE(pages);
  const auto extents = (*pages)->index().extents();
  REQUIRE(extents.size() > 3);
  // The last stored page, the first, one in between, and one that is not stored.
  const Vaddr last = extents.back().end() - kPageSize, first = extents[0].vaddr, between = extents[2].vaddr;
  REQUIRE(image::write_working_set(scratch.dir().fd(), image::working_set_name(kPid), {last, first, between, 0x1000}));
  auto recorded = open_for_test(scratch.path());
  CHECK(recorded_processes(*recorded) == std::vector<uint32_t>{kPid});
  const auto heat = heat_of(*recorded, kPid);
  REQUIRE(heat);
  CHECK(heat->pages == (*pages)->index().pages());
  CHECK(heat->elsewhere == 1);
  REQUIRE(heat->touches.size() == 3);
  CHECK(heat->touches[0].position == heat->pages - 1);
  CHECK(heat->touches[1].position == 0);
  CHECK(heat->touches[2].position == extents[0].pages + extents[1].pages);
  uint64_t stored = 0, touched = 0;
  for (const Heat::Band& band : heat->bands) {
    CHECK(band.first == stored);
    stored += band.pages, touched += band.touched;
  }
  CHECK(stored == heat->pages);
  CHECK(touched == 3);
  CHECK(process_of(summarize(*recorded), kPid).touched == 4);
  for (const unsigned width : {1u, 40u, 200u}) CHECK_FALSE(heat_text(*heat, width, width % 2).empty());
  CHECK(image::has(heat_html(std::span(&*heat, 1), "a </script> b"), "a \\u003c/script> b"));
  scratch.write("working-set-1736.flws", "damaged");
  const auto damaged = heat_of(*recorded, kPid);
  REQUIRE_FALSE(damaged);
  CHECK(damaged.error().code == EBADMSG);
  const auto nothing = heat_of(*snapshot, kPid);
  REQUIRE_FALSE(nothing);
  CHECK(nothing.error().code == ENOENT);
}

TEST_CASE("what comes from a checkpoint does not command a terminal") {
  CHECK(image::printable("plain, größer") == "plain, größer");
  CHECK(image::printable("a\x1b[31mb\n") == "a\\x1b[31mb\\x0a");
  CHECK(image::printable("\xc2\x9b" "31m") == "\\xc2\\x9b31m");
  CHECK(image::printable("\xff\xfe") == "\\xff\\xfe");
  image::ScratchDir scratch;
  fs::copy(kGoldenImages, scratch.path(), fs::copy_options::recursive);
  auto core = image::read_one<image::CoreEntry>(scratch.dir(), "core-1736.img", image::kCore);
  REQUIRE(core);
  core->tc->comm = "\x1b]0;x\a\xff";
  REQUIRE(image::write_one(scratch.dir(), "core-1736.img", image::kCore, *core));
  const Summary summary = summarize(*open_for_test(scratch.path()));
  const std::string text = summary_text(summary);
  CHECK(image::has(text, "\\x1b]0;x\\x07\\xff"));
  CHECK_FALSE(image::has(text, "\x1b"));
  CHECK_FALSE(image::has(summary_json(summary), "\x1b"));
}
