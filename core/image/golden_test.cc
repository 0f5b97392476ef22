// Checkpoints that CRIU itself wrote: what we read of them, show of them, and write again.
#include <fcntl.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <sstream>

#include "core/image/checkpoint.h"
#include "core/image/image_dir.h"
#include "core/image/json.h"
#include "core/image/scratch_dir.h"

using namespace faultline;
using image::contents;
namespace fs = std::filesystem;

namespace {

constexpr const char* kGolden = GOLDEN_DIR "/criu-4.2-zoo";

std::string without_last_newlines(std::string text) {
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

// The first line that differs, with its number: whole files say too little when they differ.
std::string first_difference(const std::string& ours, const std::string& theirs) {
  std::istringstream a(ours), b(theirs);
  std::string x, y;
  for (int line = 1;; ++line) {
    const bool more_a = static_cast<bool>(std::getline(a, x)), more_b = static_cast<bool>(std::getline(b, y));
    if (!more_a && !more_b) return "no difference";
    if (more_a != more_b || x != y) return fmt::format("line {}: ours '{}', crit's '{}'", line, more_a ? x : "<end>", more_b ? y : "<end>");
  }
}

// Reads every entry of an image into its plain struct and writes it with the Writer, payloads included.
template <typename Message>
Result<void> copy_entries(image::Reader& reader, image::Writer& writer) {
  while (auto message = TRY(reader.next<Message>())) {
    TRY(writer.put(*message));
    std::string payload;
    if constexpr (std::is_same_v<Message, image::PipeDataEntry>) payload = TRY(reader.payload(message->bytes));
    if constexpr (std::is_same_v<Message, image::SkPacketEntry>) payload = TRY(reader.payload(message->length));
    if constexpr (std::is_same_v<Message, image::GhostFileEntry>) payload = TRY(reader.rest());
    TRY(writer.payload(std::as_bytes(std::span(payload))));
  }
  return {};
}

Result<void> copy_image(image::Reader& reader, image::Writer& writer) {
  const std::string_view magic = reader.kind().magic_name;
  if (magic == "INVENTORY") return copy_entries<image::InventoryEntry>(reader, writer);
  if (magic == "PSTREE") return copy_entries<image::PstreeEntry>(reader, writer);
  if (magic == "SECCOMP") return copy_entries<image::SeccompEntry>(reader, writer);
  if (magic == "CORE") return copy_entries<image::CoreEntry>(reader, writer);
  if (magic == "IDS") return copy_entries<image::TaskKobjIdsEntry>(reader, writer);
  if (magic == "MM") return copy_entries<image::MmEntry>(reader, writer);
  if (magic == "FS") return copy_entries<image::FsEntry>(reader, writer);
  if (magic == "FDINFO") return copy_entries<image::FdinfoEntry>(reader, writer);
  if (magic == "FILES") return copy_entries<image::FileEntry>(reader, writer);
  if (magic == "REMAP_FPATH") return copy_entries<image::RemapFilePathEntry>(reader, writer);
  if (magic == "GHOST_FILE") return copy_entries<image::GhostFileEntry>(reader, writer);
  if (magic == "MEMFD_INODE") return copy_entries<image::MemfdInodeEntry>(reader, writer);
  if (magic == "PIPES_DATA") return copy_entries<image::PipeDataEntry>(reader, writer);
  if (magic == "SK_QUEUES") return copy_entries<image::SkPacketEntry>(reader, writer);
  if (magic == "TIMENS") return copy_entries<image::TimensEntry>(reader, writer);
  if (magic == "STATS") return copy_entries<image::StatsEntry>(reader, writer);
  if (magic == "PAGEMAP") {
    const auto head = TRY(reader.next<image::PagemapHead>());
    if (!head) return reader.bad(reader.offset(), "no head");
    TRY(writer.put(*head));
    return copy_entries<image::PagemapEntry>(reader, writer);
  }
  return error(ENOTSUP, "the test has no row for {}", magic);
}

std::vector<fs::path> images() {
  std::vector<fs::path> all;
  for (const auto& entry : fs::directory_iterator(std::string(kGolden) + "/images")) all.push_back(entry.path());
  return all;
}

bool raw(const fs::path& path) { return path.filename().string().starts_with("pages-"); }

}  // namespace

TEST_CASE("every image of a checkpoint of CRIU 4.2 is decoded to the JSON of its crit") {
  size_t compared = 0;
  for (const auto& entry : fs::directory_iterator(std::string(kGolden) + "/crit-json")) {
    const std::string name = entry.path().stem();
    INFO(name);
    UniqueFd fd(::open((std::string(kGolden) + "/images/" + name).c_str(), O_RDONLY | O_CLOEXEC));
    REQUIRE(fd);
    auto json = image::decode_json(fd.get(), name);
    if (!json) FAIL(json.error().what);
    CHECK(first_difference(*json, without_last_newlines(contents(entry.path()))) == "no difference");
    ++compared;
  }
  CHECK(compared == 29);
}

TEST_CASE("raw images are refused by decode, with their name") {
  UniqueFd fd(::open((std::string(kGolden) + "/images/pages-1.img").c_str(), O_RDONLY | O_CLOEXEC));
  const auto json = image::decode_json(fd.get(), "pages-1.img");
  REQUIRE(!json);
  CHECK(json.error().code == EBADMSG);
  CHECK(json.error().what.find("pages-1.img") == 0);
}

TEST_CASE("every image of a checkpoint of CRIU 4.2 is written again byte by byte") {
  image::ScratchDir scratch;
  const auto dir = scratch.dir();
  for (const fs::path& from : images()) {
    if (raw(from)) continue;
    const std::string name = from.filename();
    INFO(name);
    UniqueFd fd(::open(from.c_str(), O_RDONLY | O_CLOEXEC));
    auto reader = image::Reader::open_any(fd.get(), name);
    REQUIRE(reader);
    auto writer = image::Writer::create(dir, name, reader->kind());
    REQUIRE(writer);
    const auto copied = copy_image(*reader, *writer);
    if (!copied) FAIL(copied.error().what);
    REQUIRE(writer->close());
    CHECK(contents(from) == contents(scratch.path() / name));
  }
}

TEST_CASE("a checkpoint of CRIU 4.2 is loaded as a whole") {
  const auto dir = image::ImageDir::open(std::string(kGolden) + "/images");
  REQUIRE(dir);
  const auto loaded = image::Checkpoint::load(*dir);
  if (!loaded) FAIL(loaded.error().what);
  REQUIRE(loaded->tasks.size() == 3);
  CHECK(loaded->tasks[0].pid() == 1736);
  CHECK(loaded->tasks[0].threads.size() == 3);
  CHECK(loaded->tasks[0].pagemap.pages_id == 3);
  CHECK(loaded->tasks[1].dead());
  CHECK(loaded->tasks[2].tree.sid == 1742);
  CHECK(loaded->files.size() == 27);
  CHECK(loaded->shared.size() == 2);
  REQUIRE(loaded->pipes.size() == 1);
  CHECK(loaded->pipes[0].bytes == "bytes in a pipe");
  REQUIRE(loaded->packets.size() == 1);
  CHECK(loaded->packets[0].bytes == "bytes in a socket");
}
