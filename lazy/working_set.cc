#include "lazy/working_set.h"

#include <algorithm>

namespace faultline::lazy {

std::vector<PageName> Recorder::pages() const {
  std::vector<PageName> pages;
  const size_t count = entries_ ? std::min(count_.load(), kMaxPages) : 0;
  for (size_t i = 0; i < count; ++i) {
    const uint64_t packed = entries_[i].load(std::memory_order_relaxed);
    if (packed != 0) pages.push_back({static_cast<uint32_t>(packed >> 52) - 1, (packed & ((uint64_t{1} << 52) - 1)) * kPageSize});
  }
  return pages;
}

}  // namespace faultline::lazy
