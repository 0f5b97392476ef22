#include "core/base/progress.h"

#include <catch2/catch.hpp>

using namespace faultline;

TEST_CASE("sizes are written for people") {
  CHECK(human_size(0) == "0 B");
  CHECK(human_size(1023) == "1023 B");
  CHECK(human_size(1536) == "1.5 KiB");
  CHECK(human_size(3ull << 30) == "3.0 GiB");
}

TEST_CASE("the bar tells part, amount and speed, and fits its line") {
  const std::string half = bar_text("dump", 512 << 20, 1 << 30, 2.0, 200);
  CHECK(half.find("[###############               ]") != half.npos);
  CHECK(half.find(" 50 %  512.0 MiB of 1.0 GiB  256.0 MiB/s") != half.npos);
  CHECK(bar_text("dump", 1, 2, 1, 20).size() == 20);
  // More done than announced, and nothing announced, are no reason to stumble.
  CHECK(bar_text("dump", 5, 4, 1, 200).find("100 %") != half.npos);
  CHECK(bar_text("dump", 0, 0, 0, 200).find("  0 %") != half.npos);
}

TEST_CASE("a bar that is not shown can be used all the same") {
  ProgressBar bar("restore", false);
  bar.total(100);
  bar.advance(50);
  bar.finish();
  bar.advance(50);
}
