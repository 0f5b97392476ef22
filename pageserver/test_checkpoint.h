#pragma once

#include <cstring>

#include "core/image/checkpoint.h"
#include "core/image/scratch_dir.h"
#include "pageserver/protocol.h"
#include "pageserver/stored_source.h"

// Checkpoints for tests.
namespace faultline::pageserver {

// What page `number` of a pagemap holds there: told from every other, or zeros.
inline std::string test_page(uint64_t id, uint64_t number, bool zero = false) {
  std::string page(kPageSize, '\0');
  if (zero) return page;
  for (size_t i = 0; i < kPageSize / 8; ++i) {
    const uint64_t word = (id << 40 | number << 12 | i) * 0x9e3779b97f4a7c15;
    std::memcpy(page.data() + i * 8, &word, 8);
  }
  return page;
}

struct TestRun {
  uint64_t page, pages;  // address / page size
  uint32_t flags;        // image::kPage...
};

// Writes the pagemap and the pages of an object; pages whose number `zero` says so are zeros.
inline void write_object(const std::filesystem::path& path, ObjectId object, uint32_t pages_id, const std::vector<TestRun>& runs,
                         bool (*zero)(uint64_t) = [](uint64_t) { return false; }) {
  std::filesystem::create_directories(path);
  auto dir = image::ImageDir::open(path);
  REQUIRE(dir);
  auto writer = image::Writer::create(*dir, pagemap_name(object), image::kPagemap);
  REQUIRE(writer);
  REQUIRE(writer->put(image::PagemapHead{.pages_id = pages_id}));
  std::ofstream pages(path / fmt::format("pages-{}.img", pages_id), std::ios::binary);
  for (const TestRun& run : runs) {
    image::PagemapEntry entry;
    entry.vaddr = run.page * kPageSize;
    entry.nr_pages = run.pages;
    entry.flags = run.flags;
    REQUIRE(writer->put(entry));
    for (uint64_t i = 0; (run.flags & image::kPagePresent) && i < run.pages; ++i) pages << test_page(id_of(object), run.page + i, zero(run.page + i));
  }
  REQUIRE(writer->close());
}

inline void write_inventory(const std::filesystem::path& path, const std::string& text = "inventory") {
  std::ofstream(path / "inventory.img", std::ios::binary) << text;
}

}  // namespace faultline::pageserver
