#include "core/image/page_index.h"

#include <catch2/catch.hpp>
#include <map>
#include <random>

namespace faultline::image {
namespace {

constexpr uint64_t kPlenty = uint64_t{1} << 40;

PagemapEntry run(uint64_t page, uint64_t pages, uint32_t flags) {
  PagemapEntry e;
  e.vaddr = page * kPageSize;
  e.nr_pages = pages;
  e.flags = flags;
  return e;
}

Pagemap map_of(std::vector<PagemapEntry> entries) {
  Pagemap m;
  m.entries = std::move(entries);
  return m;
}

TEST_CASE("pages are found with their place in the file, cut to start there") {
  const auto map = map_of({run(10, 4, 4), run(14, 2, 6), run(20, 1, 4)});
  const PagemapLayer layer{&map, 7, kPlenty, "pagemap-1.img"};
  const auto index = PageIndex::build({&layer, 1});
  REQUIRE(index);
  CHECK(index->pages() == 7);
  const auto e = index->find(12 * kPageSize + 5);
  REQUIRE(e);
  CHECK(e->vaddr == 12 * kPageSize);
  CHECK(e->pages == 2);  // what may come late is an extent of its own
  CHECK(e->offset == 2 * kPageSize);
  CHECK(e->file == 7);
  CHECK_FALSE(index->find(16 * kPageSize));
  CHECK_FALSE(index->find(9 * kPageSize));
  CHECK(index->find(20 * kPageSize)->offset == 6 * kPageSize);
}

TEST_CASE("parents are resolved page by page") {
  const auto old = map_of({run(0, 10, 4)});
  const auto middle = map_of({run(0, 3, 1), run(3, 2, 4), run(5, 5, 1)});
  const auto young = map_of({run(1, 6, 1), run(7, 1, 4)});
  const PagemapLayer layers[] = {{&young, 0, kPlenty, "a"}, {&middle, 1, kPlenty, "b"}, {&old, 2, kPlenty, "c"}};
  const auto index = PageIndex::build(layers);
  REQUIRE(index);
  CHECK_FALSE(index->find(0));
  CHECK(index->find(1 * kPageSize)->file == 2);
  CHECK(index->find(4 * kPageSize)->file == 1);
  CHECK(index->find(4 * kPageSize)->offset == kPageSize);
  CHECK(index->find(6 * kPageSize)->offset == 6 * kPageSize);
  CHECK(index->find(7 * kPageSize)->file == 0);
  CHECK_FALSE(index->find(8 * kPageSize));
}

TEST_CASE("what does not fit is refused") {
  const auto refused = [](std::vector<PagemapEntry> entries, uint64_t file_size) {
    const auto map = map_of(std::move(entries));
    const PagemapLayer layer{&map, 0, file_size, "pagemap-1.img"};
    const auto index = PageIndex::build({&layer, 1});
    return index ? 0 : index.error().code;
  };
  CHECK(refused({run(5, 2, 4), run(6, 1, 4)}, kPlenty) == EBADMSG);
  CHECK(refused({run(5, 2, 4), run(3, 1, 4)}, kPlenty) == EBADMSG);
  CHECK(refused({run(5, 3, 4)}, 2 * kPageSize) == EBADMSG);
  CHECK(refused({run(5, UINT64_MAX / 2, 4)}, kPlenty) == EBADMSG);
  CHECK(refused({run(5, 1, 1)}, kPlenty) == EBADMSG);
}

TEST_CASE("pages that are not in the images are with another host") {
  const auto map = map_of({run(4, 1, 4), run(5, 2, 2), run(7, 1, 6)});
  const PagemapLayer layer{&map, 0, kPlenty, "pagemap-1.img"};
  const auto index = PageIndex::build({&layer, 1});
  REQUIRE(index);
  CHECK(index->any_remote());
  CHECK_FALSE(index->find(4 * kPageSize)->late);
  CHECK(index->find(6 * kPageSize)->remote());
  CHECK(index->find(6 * kPageSize)->offset == 6 * kPageSize);
  CHECK_FALSE(index->find(7 * kPageSize)->remote());
  CHECK(index->find(7 * kPageSize)->offset == kPageSize);
}

TEST_CASE("random chains agree with a page-by-page model") {
  std::mt19937 random(1);
  for (int round = 0; round < 200; ++round) {
    struct Place { uint32_t file; uint64_t offset; };
    std::map<uint64_t, Place> model;
    std::vector<Pagemap> maps;
    for (uint32_t file = 0; file < 3; ++file) {
      std::map<uint64_t, Place> next;
      Pagemap map;
      uint64_t offset = 0;
      for (uint64_t page = 0; page < 64; ++page) {
        const bool in_parent = model.contains(page);
        const unsigned choice = random() % 3;
        if (choice == 0) {
          map.entries.push_back(run(page, 1, 4));
          next[page] = {file, offset};
          offset += kPageSize;
        } else if (choice == 1 && in_parent) {
          map.entries.push_back(run(page, 1, 1));
          next[page] = model[page];
        }
      }
      maps.push_back(std::move(map));
      model = std::move(next);
    }
    const PagemapLayer layers[] = {{&maps[2], 2, kPlenty, "c"}, {&maps[1], 1, kPlenty, "b"}, {&maps[0], 0, kPlenty, "a"}};
    const auto index = PageIndex::build(layers);
    REQUIRE(index);
    for (uint64_t page = 0; page < 64; ++page) {
      const auto e = index->find(page * kPageSize);
      REQUIRE(e.has_value() == model.contains(page));
      if (e) REQUIRE((e->file == model[page].file && e->offset == model[page].offset));
    }
  }
}

}  // namespace
}  // namespace faultline::image
