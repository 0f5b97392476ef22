// A whole checkpoint, damaged in one place at a time: it is refused with the name of the file and the reason, and never crashes the reader.
#include "core/image/checkpoint.h"

#include <fcntl.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <functional>

#include "core/base/mapping.h"
#include "core/image/json.h"
#include "core/image/scratch_dir.h"

using namespace faultline;
using namespace faultline::image;
namespace fs = std::filesystem;

namespace {

constexpr const char* kImages = GOLDEN_DIR "/criu-4.2-zoo/images";

// A copy of the golden checkpoint that a test may damage. Its processes: 1736 (with threads 1738, 1739, 1740), 1741 (a zombie), 1742.
class Copy {
 public:
  Copy() { fs::copy(kImages, scratch_.path()); }

  Result<Checkpoint> load() const { return Checkpoint::load(scratch_.dir()); }
  fs::path path(const std::string& file) const { return scratch_.path() / file; }
  ImageDir dir() const { return scratch_.dir(); }
  void write(const std::string& file, const std::string& bytes) const { scratch_.write(file, bytes); }

  // Writes the image again with entries changed.
  template <typename Message>
  void change(const std::string& file, const Kind& kind, const std::function<void(std::vector<Message>&)>& how) const {
    const auto dir = scratch_.dir();
    auto entries = read_all<Message>(dir, file, kind);
    REQUIRE(entries);
    how(*entries);
    auto writer = Writer::create(dir, file, kind);
    REQUIRE(writer);
    for (const Message& entry : *entries) REQUIRE(writer->put(entry));
    REQUIRE(writer->close());
  }

  // The error of loading must be EBADMSG (or `code`) and say all of this.
  void refused(std::initializer_list<const char*> parts, int code = EBADMSG) const {
    const auto loaded = load();
    REQUIRE(!loaded);
    CHECK(loaded.error().code == code);
    for (const char* part : parts) CHECK_THAT(loaded.error().what, Catch::Contains(part));
  }

 private:
  ScratchDir scratch_;
};

// A pagemap file with these runs.
Result<Pagemap> load_runs(const ScratchDir& scratch, const std::vector<PagemapEntry>& runs, off_t pages_size = 100 * kPageSize) {
  const auto dir = scratch.dir();
  auto writer = Writer::create(dir, "pagemap-1.img", kPagemap);
  REQUIRE(writer);
  REQUIRE(writer->put(PagemapHead{.pages_id = 7}));
  for (const PagemapEntry& run : runs) REQUIRE(writer->put(run));
  REQUIRE(writer->close());
  scratch.write("pages-7.img", "");
  REQUIRE(::truncate((scratch.path() / "pages-7.img").c_str(), pages_size) == 0);
  return load_pagemap(dir, "pagemap-1.img", false);
}

PagemapEntry run_of(uint64_t vaddr, uint64_t pages, uint32_t flags = kPagePresent) {
  return PagemapEntry{.vaddr = vaddr, .compat_nr_pages = 0, .flags = flags, .nr_pages = pages};
}

std::string refused_runs(const std::vector<PagemapEntry>& runs, off_t pages_size = 100 * kPageSize) {
  ScratchDir scratch;
  const auto map = load_runs(scratch, runs, pages_size);
  REQUIRE(!map);
  CHECK(map.error().code == EBADMSG);
  return map.error().what;
}

}  // namespace

TEST_CASE("a checkpoint without inventory is none") {
  Copy copy;
  fs::remove(copy.path("inventory.img"));
  copy.refused({"inventory.img", "not a checkpoint"}, ENOENT);
}

TEST_CASE("versions of the format that are not known are refused") {
  Copy copy;
  const auto set = [&](auto field) { copy.change<InventoryEntry>("inventory.img", kInventory, [&](auto& all) { field(all[0]); }); };
  set([](InventoryEntry& i) { i.img_version = 3; });
  copy.refused({"inventory.img", "version 3"});
  set([](InventoryEntry& i) { i.img_version = 0; });
  copy.refused({"inventory.img", "version 0"});
  set([](InventoryEntry& i) { i.img_version = 2, i.fdinfo_per_id.reset(); });
  copy.refused({"inventory.img", "fdinfo_per_id"});
}

TEST_CASE("a process tree that is none is refused") {
  Copy copy;
  const auto change = [&](auto how) { copy.change<PstreeEntry>("pstree.img", kPstree, how); };
  SECTION("a parent that comes after its child") {
    change([](auto& all) { std::swap(all[0], all[1]); });
    copy.refused({"pstree.img", "parent"});
  }
  SECTION("a thread that occurs twice") {
    change([](auto& all) { all[0].threads[2] = 1738; });
    copy.refused({"pstree.img", "1738"});
  }
  SECTION("a process that occurs twice") {
    change([](auto& all) { all.push_back(all[2]); });
    copy.refused({"pstree.img", "1742"});
  }
  SECTION("a leader that is not the first thread") {
    change([](auto& all) { std::swap(all[0].threads[0], all[0].threads[1]); });
    copy.refused({"pstree.img", "1736"});
  }
  SECTION("no process at all") {
    fs::remove(copy.path("pstree.img"));
    copy.refused({"pstree.img"});
  }
}

TEST_CASE("an image of a process that is missing is named") {
  for (const char* file : {"core-1736.img", "core-1739.img", "ids-1742.img", "mm-1736.img", "fs-1742.img", "pages-3.img"}) {
    INFO(file);
    Copy copy;
    fs::remove(copy.path(file));
    copy.refused({file}, ENOENT);
  }
  Copy copy;
  fs::remove(copy.path("files.img"));
  copy.refused({"files.img"}, ENOTSUP);
}

TEST_CASE("descriptors that cannot be are refused") {
  Copy copy;
  const auto change = [&](auto how) { copy.change<FdinfoEntry>("fdinfo-2.img", kFdinfo, how); };
  SECTION("one number twice") {
    change([](auto& all) { all[1].fd = all[0].fd; });
    copy.refused({"fdinfo-2.img", "descriptor 0"});
  }
  SECTION("a number that no process may have") {
    change([](auto& all) { all[0].fd = 0xffffffff; });
    copy.refused({"fdinfo-2.img", "descriptor 4294967295"});
  }
  SECTION("a file that is not there") {
    change([](auto& all) { all[0].id = 4711; });
    copy.refused({"files.img", "4711"});
  }
  SECTION("two files of one id") {
    copy.change<FileEntry>("files.img", kFiles, [](auto& all) {
      for (FileEntry& file : all)
        if (file.type == FdTypes::PIPE) file.id = 9;
    });
    copy.refused({"files.img", "id 9"});
  }
}

TEST_CASE("areas that cannot be are refused") {
  Copy copy;
  const auto change = [&](auto how) { copy.change<MmEntry>("mm-1736.img", kMm, [&](auto& all) { how(all[0].vmas); }); };
  SECTION("overlapping") {
    change([](auto& vmas) { vmas[1].start = vmas[0].start; });
  }
  SECTION("backwards") {
    change([](auto& vmas) { std::swap(vmas[0].start, vmas[0].end); });
  }
  SECTION("not aligned") {
    change([](auto& vmas) { vmas[0].end += 1; });
  }
  SECTION("outside user space") {
    change([](auto& vmas) { vmas.front().end = uint64_t{1} << 63, vmas.resize(1); });
  }
  copy.refused({"mm-1736.img", "area"});
}

TEST_CASE("runs of pages") {
  ScratchDir scratch;
  const auto good = load_runs(scratch, {run_of(0x1000, 2), run_of(0x3000, 98), run_of(0x100000, 1, kPageParent)});
  REQUIRE(good);
  CHECK(good->pages_id == 7);
  CHECK(good->entries.size() == 3);

  CHECK_THAT(refused_runs({run_of(0x1000, 2), run_of(0x2000, 1)}),
             Catch::Contains("pagemap-1.img: at offset ") && Catch::Contains("0x2000 overlaps"));
  CHECK_THAT(refused_runs({run_of(0x2000, 1), run_of(0x1000, 1)}), Catch::Contains("0x1000 overlaps"));
  CHECK_THAT(refused_runs({run_of(0x1001, 1)}), Catch::Contains("0x1001 is not aligned"));
  CHECK_THAT(refused_runs({run_of(0x1000, UINT64_MAX)}), Catch::Contains("0x1000 is not aligned or too long"));
  CHECK_THAT(refused_runs({run_of(0x1000, UINT64_MAX / kPageSize)}), Catch::Contains("too long"));
  CHECK_THAT(refused_runs({run_of(uint64_t{1} << 63, 1)}), Catch::Contains("too long"));
  CHECK_THAT(refused_runs({run_of(0x1000, 101)}),
             Catch::Contains("pages-7.img") && Catch::Contains("has 100 pages") && Catch::Contains("101"));
  CHECK_THAT(refused_runs({run_of(0x1000, 100)}, 100 * kPageSize - 1), Catch::Contains("has 99 pages"));
}

TEST_CASE("old forms of a pagemap are understood") {
  ScratchDir scratch;
  const auto map =
      load_runs(scratch, {{.vaddr = 0x1000, .compat_nr_pages = 2}, {.vaddr = 0x3000, .compat_nr_pages = 1, .in_parent = true}});
  REQUIRE(map);
  REQUIRE(map->entries.size() == 2);
  CHECK(map->entries[0].nr_pages == 2u);
  CHECK(map->entries[0].flags == kPagePresent);
  CHECK(map->entries[1].flags == kPageParent);
}

TEST_CASE("an image cut off anywhere is refused or ends between two entries") {
  Copy copy;
  for (const auto& entry : fs::directory_iterator(kImages)) {
    const std::string name = entry.path().filename(), whole = contents(entry.path());
    if (name.starts_with("pages-")) continue;
    INFO(name);
    std::vector<size_t> ends;
    for (size_t length = 0; length < whole.size(); ++length) {
      copy.write(name, whole.substr(0, length));
      UniqueFd fd(::open(copy.path(name).c_str(), O_RDONLY | O_CLOEXEC));
      const auto json = decode_json(fd.get(), name);
      if (json)
        ends.push_back(length);
      else if (json.error().code != EBADMSG || !json.error().what.starts_with(name + ": at offset "))
        FAIL(length << ": " << json.error().what);
      // The whole is loaded less often: it takes longer.
      if (length % 37 || name == "stats-dump") continue;
      const auto loaded = copy.load();
      if (!json && !loaded) CHECK_THAT(loaded.error().what, Catch::Contains(name));
      CHECK((loaded || !loaded.error().what.empty()));
    }
    copy.write(name, whole);
    // Every length that is accepted is a boundary of entries; a ghost file's body may end anywhere.
    if (name.starts_with("ghost-file")) continue;
    UniqueFd fd(::open(entry.path().c_str(), O_RDONLY | O_CLOEXEC));
    auto reader = Reader::open_any(fd.get(), name);
    REQUIRE(reader);
    for (const size_t length : ends) {
      while (reader->offset() < length) {
        auto bytes = reader->next_bytes();
        REQUIRE(bytes);
        if (reader->kind().payload == Payload::kPipeData || reader->kind().payload == Payload::kSocketPacket) REQUIRE(reader->rest());
      }
      CHECK(reader->offset() == length);
    }
  }
  CHECK(copy.load());
}

TEST_CASE("no byte that is changed crashes a reader, and every error names a file") {
  Copy copy;
  size_t refusals = 0;
  for (const auto& entry : fs::directory_iterator(kImages)) {
    const std::string name = entry.path().filename(), whole = contents(entry.path());
    if (name.starts_with("pages-")) continue;
    INFO(name);
    for (size_t at = 0; at<whole.size(); at += whole.size()> 500 ? 11 : 1) {
      std::string bytes = whole;
      bytes[at] = static_cast<char>(~bytes[at]);
      copy.write(name, bytes);
      UniqueFd fd(::open(copy.path(name).c_str(), O_RDONLY | O_CLOEXEC));
      const auto json = decode_json(fd.get(), name);
      if (!json && !json.error().what.starts_with(name + ": at offset ")) FAIL(at << ": " << json.error().what);
      const auto loaded = copy.load();
      if (!loaded && loaded.error().what.find(".img") == std::string::npos) FAIL(at << ": " << loaded.error().what);
      refusals += !loaded;
    }
    copy.write(name, whole);
  }
  CHECK(refusals > 500);
}
