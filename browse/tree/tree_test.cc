#include "browse/tree/tree.h"

#include <catch2/catch.hpp>
#include <set>
#include <thread>

#include "core/image/image_dir.h"

namespace faultline::browse {
namespace {

std::unique_ptr<Snapshot> zoo() {
  auto snapshot = Snapshot::open(*images_in(GOLDEN_DIR "/criu-4.2-zoo/images"));
  REQUIRE(snapshot);
  return std::move(*snapshot);
}

std::string bytes_of(const FileData& data) {
  std::string text;
  for (;;) {
    std::byte buffer[1000];  // no divisor of anything
    const auto n = data.read(text.size(), buffer);
    if (!n || *n == 0) return text;
    text.append(reinterpret_cast<const char*>(buffer), *n);
  }
}

// Visits everything below `node`: found by its name again, readable, as long as stat() says.
size_t walk(Tree& tree, Node node, std::set<uint64_t>& inodes) {
  const auto st = tree.stat(node);
  REQUIRE(st);
  CHECK(Node::of(node.ino()) == node);
  CHECK(inodes.insert(node.ino()).second);
  if (S_ISLNK(st->st_mode)) CHECK_FALSE(tree.link(node)->empty());
  if (S_ISREG(st->st_mode) && !Tree::sparse(node)) {
    const auto data = *tree.open(node);
    const size_t size = bytes_of(*data).size();
    // The program of this checkpoint is not on this machine, so that some pages cannot be read.
    std::byte byte[1];
    if (data->read(size, byte)) CHECK(size == static_cast<size_t>(st->st_size));
    else CHECK(size < static_cast<size_t>(st->st_size));
  }
  if (!S_ISDIR(st->st_mode)) return 1;
  const auto folder = tree.folder(node);
  REQUIRE(folder);
  size_t files = 1;
  for (size_t i = 0; i < (*folder)->count(); ++i) {
    const auto entry = (*folder)->at(i);
    INFO(entry.name);
    CHECK((*folder)->find(entry.name) == entry.node);
    CHECK(entry.name.find('/') == std::string::npos);
    files += walk(tree, entry.node, inodes);
  }
  CHECK_FALSE((*folder)->find("no such name"));
  CHECK_FALSE((*folder)->find(""));
  return files;
}

TEST_CASE("every file is found by its name, has a number of its own and the size that is told") {
  const auto snapshot = zoo();
  Tree tree(*snapshot, {});
  std::set<uint64_t> inodes;
  CHECK(walk(tree, Node(), inodes) > 100);
}

TEST_CASE("numbers that nobody has given out are errors") {
  const auto snapshot = zoo();
  Tree tree(*snapshot, {});
  CHECK_FALSE(Node::of(0));
  CHECK_FALSE(Node::of(2));
  CHECK_FALSE(Node::of(uint64_t{0xff} << 56));
  for (auto kind = static_cast<uint8_t>(NodeKind::kSummary); kind < static_cast<uint8_t>(NodeKind::kEnd); ++kind) {
    const Node node = {static_cast<NodeKind>(kind), Node::kMaxTask, 0xffffffff};
    CHECK(Node::of(node.ino()) == node);
    if (Tree::type_of(node) == S_IFLNK) CHECK_FALSE(tree.link(node));
    if (Tree::type_of(node) == S_IFREG && node.kind != NodeKind::kSummary) CHECK_FALSE(tree.open(node));
  }
}

TEST_CASE("memory has its holes where nothing is mapped, and areas have none") {
  const auto snapshot = zoo();
  Tree tree(*snapshot, {});
  const auto memory = *snapshot->memory(snapshot->processes()[0].pid);
  const auto& vma = *memory->areas()[0].vma;
  const auto mem = *tree.open({NodeKind::kMem, 0, 0});
  CHECK(mem->size() >= uint64_t{1} << 47);
  CHECK(mem->next(true, 0) >= vma.start);
  CHECK(mem->next(false, 0) == 0);
  std::byte byte[1];
  CHECK(mem->read(0, byte).error().code == EIO);
  CHECK(mem->stored() < uint64_t{1} << 32);
  const auto area = *tree.open({NodeKind::kArea, 0, 0});
  CHECK(area->size() == vma.end - vma.start);
}

TEST_CASE("places lead to the same bytes as reading") {
  const auto snapshot = zoo();
  Tree tree(*snapshot, {});
  size_t placed = 0;
  for (uint32_t i = 0; i < (*snapshot->memory(snapshot->processes()[0].pid))->areas().size(); ++i) {
    const auto area = *tree.open({NodeKind::kArea, 0, i});
    for (uint64_t at = 0; at < area->size();) {
      const auto place = area->place(at, area->size());
      if (!place) break;
      REQUIRE(place->length > 0);
      const size_t n = std::min<uint64_t>(place->length, 4096);
      std::vector<std::byte> read(n), placed_bytes(n);
      REQUIRE(area->read(at, read) == n);
      if (place->fd >= 0) REQUIRE(pread_all(place->fd, placed_bytes.data(), n, static_cast<off_t>(place->offset), "a place"));
      CHECK(read == placed_bytes);
      placed += place->fd >= 0;
      at += place->length;
    }
  }
  CHECK(placed > 0);
}

TEST_CASE("sixteen threads read everything at once") {
  const auto snapshot = zoo();
  Tree tree(*snapshot, {});
  std::vector<std::jthread> threads;
  std::atomic<size_t> bytes = 0;
  for (int i = 0; i < 16; ++i)
    threads.emplace_back([&] {
      const std::function<void(Node)> read = [&](Node node) {
        if (Tree::type_of(node) == S_IFREG && !Tree::sparse(node))
          if (const auto data = tree.open(node)) bytes += bytes_of(**data).size();
        if (Tree::type_of(node) == S_IFLNK) (void)tree.link(node);
        if (Tree::type_of(node) != S_IFDIR) return;
        const auto folder = tree.folder(node);
        if (folder)
          for (size_t n = 0; n < (*folder)->count(); ++n) read((*folder)->at(n).node);
      };
      read(Node());
    });
  threads.clear();
  CHECK(bytes > 16 * 1000);
}

}  // namespace
}  // namespace faultline::browse
