#pragma once

#include "core/base/log.h"
#include "core/image/scratch_dir.h"

namespace faultline::image {

// What is logged from here on, for tests that look at it. To be made before what logs, and destroyed after it.
class CapturedLog {
 public:
  CapturedLog() { REQUIRE(log::open((dir_.path() / "log").string(), 3)); }
  ~CapturedLog() { (void)log::open("", 2).has_value(); }

  std::string text() const { return contents(dir_.path() / "log"); }
  bool has(std::string_view part) const { return text().find(part) != std::string::npos; }
  size_t count(std::string_view part) const {
    const std::string all = text();
    size_t n = 0;
    for (size_t at = all.find(part); at != all.npos; at = all.find(part, at + 1)) ++n;
    return n;
  }

 private:
  ScratchDir dir_;
};

}  // namespace faultline::image
