// Damaged checkpoints: whatever is in an image, looking at it ends, with contents or with errors, and the rest stays as it was.
#include <sys/resource.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <random>

#include "browse/test_walk.h"
#include "browse/test_golden.h"
#include "core/image/scratch_dir.h"

using namespace faultline;
using namespace faultline::browse;
namespace fs = std::filesystem;

namespace {

constexpr int kCuts = 16, kFlips = 64;
#ifdef __SANITIZE_ADDRESS__
constexpr uint64_t kMostKib = 2 << 20;  // it keeps what was freed
#else
constexpr uint64_t kMostKib = 64 << 10;
#endif

std::vector<std::string> image_names() {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(kGoldenImages))
    if (entry.is_regular_file()) names.push_back(entry.path().filename());
  std::ranges::sort(names);
  return names;
}

// A copy, in which one image at a time is another.
class Variants {
 public:
  Variants() { fs::copy(kGoldenImages, scratch_.path(), fs::copy_options::recursive); }

  // Nothing but an error that names the checkpoint, or a walk that ends.
  void look(const std::string& name, const std::string& bytes) {
    scratch_.write(name, bytes);
    ++count_;
    auto images = images_in(scratch_.path());
    REQUIRE(images);
    auto snapshot = Snapshot::open(std::move(*images));
    if (!snapshot) {
      CHECK(image::has(snapshot.error().what, scratch_.path()));
      return;
    }
    const Walked walked = walk(**snapshot);
    CHECK(walked.answers > 0);
    errors_ += walked.errors;
  }
  void heal(const std::string& name) { scratch_.write(name, image::contents(fs::path(kGoldenImages) / name)); }
  int count() const { return count_; }
  uint64_t errors() const { return errors_; }

 private:
  image::ScratchDir scratch_;
  int count_ = 0;
  uint64_t errors_ = 0;
};

uint64_t peak_kib() {
  rusage usage;
  REQUIRE(::getrusage(RUSAGE_SELF, &usage) == 0);
  return static_cast<uint64_t>(usage.ru_maxrss);
}

}  // namespace

TEST_CASE("every image cut, and with bytes flipped, at more than 2000 places") {
  Variants variants;
  std::mt19937_64 random(4711);
  const uint64_t before = peak_kib();
  for (const std::string& name : image_names()) {
    const std::string whole = image::contents(fs::path(kGoldenImages) / name);
    // Of the contents of memory there is nothing to understand, only to be short of.
    const int flips = name.starts_with("pages-") ? 1 : kFlips;
    CAPTURE(name);
    for (int i = 0; i < kCuts; ++i) variants.look(name, whole.substr(0, whole.size() * static_cast<size_t>(i) / kCuts));
    for (int i = 0; i < flips && !whole.empty(); ++i) {
      std::string bytes = whole;
      for (unsigned k = 0; k <= random() % 4; ++k) bytes[random() % bytes.size()] ^= static_cast<char>(1 + random() % 255);
      variants.look(name, bytes);
    }
    variants.heal(name);
  }
  CHECK(variants.count() >= 2000);
  CHECK(variants.errors() > 1000);
  // No announced size was believed.
  CHECK(peak_kib() - before < kMostKib);
}

TEST_CASE("an image that is missing harms its own part only") {
  auto whole_images = images_in(kGoldenImages);
  REQUIRE(whole_images);
  auto whole_snapshot = Snapshot::open(std::move(*whole_images));
  REQUIRE(whole_snapshot);
  const Walked whole = walk(**whole_snapshot);
  for (const std::string& name : image_names()) {
    if (name == "pstree.img" || name == "files.img" || name == "memfd.img") continue;  // of all processes
    image::ScratchDir scratch;
    fs::copy(kGoldenImages, scratch.path(), fs::copy_options::recursive);
    fs::remove(scratch.path() / name);
    auto images = images_in(scratch.path());
    REQUIRE(images);
    auto snapshot = Snapshot::open(std::move(*images));
    REQUIRE(snapshot);
    CAPTURE(name);
    const Walked walked = walk(**snapshot);
    CHECK(walked.answers * 3 > whole.answers);
  }
}
