#include "pageserver/catalog.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>

#include "pageserver/test_checkpoint.h"

namespace faultline::pageserver {
namespace {

constexpr ObjectId kTask = object_id(42, kTaskMemory);

UniqueFd open_dir(const std::filesystem::path& path) { return UniqueFd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)); }

TEST_CASE("checkpoints are found below the directory, and nowhere else") {
  const image::ScratchDir outside, inside;
  write_inventory(outside.path());
  write_object(inside.path() / "a/b", kTask, 1, {{16, 4, 4}});
  write_inventory(inside.path() / "a/b");
  std::filesystem::create_directory_symlink(outside.path(), inside.path() / "absolute");
  std::filesystem::create_directory_symlink("../" + outside.path().filename().string(), inside.path() / "upwards");
  std::filesystem::create_directory_symlink("a/b", inside.path() / "within");
  std::filesystem::create_directory_symlink("/proc/self/cwd", inside.path() / "magic");
  Catalog catalog(open_dir(inside.path()));
  CHECK(catalog.find("a/b"));
  CHECK(catalog.find("within"));
  for (const char* name : {"absolute", "upwards", "magic", "..", "a/../..", "/etc", "a", "", "none", "a/b/pages-1.img"}) {
    INFO(name);
    CHECK_FALSE(catalog.find(name));
  }
  CHECK(*catalog.names() == "a/b\n");
}

TEST_CASE("neither images nor parents lead out of the directory") {
  const image::ScratchDir outside, inside;
  write_object(outside.path(), kTask, 1, {{16, 4, 4}});
  write_object(inside.path() / "good", kTask, 1, {{16, 4, 4}});
  for (const char* name : {"by-parent", "by-file", "by-pages", "by-fifo", "within"}) {
    write_object(inside.path() / name, kTask, 1, {{16, 4, name == std::string("by-parent") || name == std::string("within") ? 1u : 4u}});
    write_inventory(inside.path() / name);
  }
  std::filesystem::create_directory_symlink(outside.path(), inside.path() / "by-parent/parent");
  std::filesystem::create_directory_symlink("../good", inside.path() / "within/parent");
  std::filesystem::create_symlink("/etc/passwd", inside.path() / "by-file/passwd.img");
  std::filesystem::remove(inside.path() / "by-pages/pages-1.img");
  std::filesystem::create_symlink(outside.path() / "pages-1.img", inside.path() / "by-pages/pages-1.img");
  std::filesystem::remove(inside.path() / "by-fifo/pages-1.img");
  REQUIRE(::mkfifo((inside.path() / "by-fifo/pages-1.img").c_str(), 0600) == 0);
  Catalog catalog(open_dir(inside.path()));
  const Range range = {kTask, 16 * kPageSize, 4};
  CHECK((*catalog.find("within"))->locate(range)->pages == 4);
  CHECK_FALSE((*catalog.find("by-parent"))->locate(range));
  CHECK_FALSE((*catalog.find("by-pages"))->locate(range));
  CHECK_FALSE((*catalog.find("by-fifo"))->locate(range));
  CHECK_FALSE((*catalog.find("by-file"))->open_file("passwd.img"));
  CHECK_FALSE((*catalog.find("by-file"))->open_file("../good/pages-1.img"));
}

TEST_CASE("a chain of many parents is resolved") {
  const image::ScratchDir root;
  write_object(root.path() / "0", kTask, 1, {{16, 4, 4}});
  for (int i = 1; i < 100; ++i) {
    write_object(root.path() / std::to_string(i), kTask, 1, {{16, 4, 1}});
    std::filesystem::create_directory_symlink("../" + std::to_string(i - 1), root.path() / std::to_string(i) / "parent");
  }
  write_inventory(root.path() / "99");
  Catalog catalog(open_dir(root.path()));
  const auto source = catalog.find("99");
  REQUIRE(source);
  const auto place = (*source)->locate({kTask, 17 * kPageSize, 3});
  REQUIRE(place);
  CHECK(place->offset == kPageSize);
  CHECK(image::has(**(*source)->list_files(), "16384 pages-1.img\n"));
}

TEST_CASE("a checkpoint that was written anew is loaded anew, and one that is in use is shared") {
  const image::ScratchDir root;
  write_object(root.path(), kTask, 1, {{16, 4, 4}});
  write_inventory(root.path());
  Catalog catalog(open_dir(root.path()));
  const auto first = catalog.find("");
  REQUIRE(first);
  CHECK(*catalog.find("") == *first);
  CHECK((*first)->locate({kTask, 16 * kPageSize, 1}));
  root.write("inventory.img", "another inventory");
  const auto second = catalog.find("");
  REQUIRE(second);
  CHECK(*second != *first);
  CHECK((*first)->locate({kTask, 17 * kPageSize, 1}));
}

TEST_CASE("memory alone is served when all of it was received, and no sooner") {
  const image::ScratchDir root;
  write_object(root.path(), kTask, 0x10001, {{16, 4, 4}});
  Catalog catalog(open_dir(root.path()));
  CHECK(image::has(catalog.find("").error().what, "memory-received"));
  root.write(image::kMemoryReceivedFile, "4 pages of 1 objects\n");
  const auto memory = catalog.find("");
  REQUIRE(memory);
  CHECK((*memory)->locate({kTask, 16 * kPageSize, 4})->pages == 4);
  const std::string list = **(*memory)->list_files();
  CHECK(image::has(list, "16384 pages-65537.img\n"));
  CHECK_FALSE(image::has(list, "inventory.img"));
  CHECK_FALSE(image::has(list, image::kMemoryReceivedFile));
  CHECK(*catalog.names() == "");
  // Joined with the other images it is a checkpoint like any other.
  write_inventory(root.path());
  const auto whole = catalog.find("");
  REQUIRE(whole);
  CHECK(*whole != *memory);
  CHECK(*catalog.names() == "\n");
}

TEST_CASE("pages files that two pagemaps share, or that only a parent has, get names of their own") {
  const image::ScratchDir root;
  write_object(root.path() / "old", object_id(3, kTaskMemory), 5, {{16, 1, 4}});
  write_object(root.path() / "new", object_id(3, kTaskMemory), 0, {{16, 1, 1}});
  write_object(root.path() / "new", object_id(1, kTaskMemory), 5, {{16, 2, 4}});
  write_object(root.path() / "new", object_id(2, kTaskMemory), 5, {{16, 2, 4}});
  std::filesystem::create_directory_symlink("../old", root.path() / "new/parent");
  write_inventory(root.path() / "new");
  Catalog catalog(open_dir(root.path()));
  const auto files = (*catalog.find("new"))->list_files();
  REQUIRE(files);
  CHECK(image::has(**files, "8192 pages-5.img\n"));
  CHECK(image::has(**files, "8192 pages-2130706433.img\n"));
  CHECK(image::has(**files, "4096 pages-2130706434.img\n"));
}

}  // namespace
}  // namespace faultline::pageserver
