#pragma once

#include <catch2/catch.hpp>
#include <memory>
#include <string>

#include "browse/snapshot.h"

// For tests: the checkpoint that CRIU 4.2 made, and how any is opened. GOLDEN_DIR comes from the build.
namespace faultline::browse {

inline constexpr const char* kGoldenImages = GOLDEN_DIR "/criu-4.2-zoo/images";

inline std::unique_ptr<Snapshot> open_for_test(const std::string& path) {
  auto images = images_in(path);
  REQUIRE(images);
  auto snapshot = Snapshot::open(std::move(*images));
  REQUIRE(snapshot);
  return std::move(*snapshot);
}

}  // namespace faultline::browse
