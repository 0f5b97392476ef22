#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "core/base/mapping.h"
#include "core/image/working_set.h"

namespace faultline::lazy {

// A page of an index, by its address in it.
struct PageName {
  uint32_t index;
  Vaddr origin;
  bool operator==(const PageName&) const = default;
};

// Notes which pages were asked for, in order, until it is full. Threads may add at once, without locks.
class Recorder {
 public:
  static constexpr size_t kMaxPages = image::kMaxWorkingSet;

  explicit Recorder(bool active) : entries_(active ? new std::atomic<uint64_t>[kMaxPages]() : nullptr) {}

  void add(PageName page) {
    if (!entries_ || stopped_.load(std::memory_order_relaxed)) return;
    const size_t i = count_.fetch_add(1, std::memory_order_relaxed);
    if (i < kMaxPages) entries_[i].store(pack(page), std::memory_order_relaxed);
  }
  // The time is over.
  void stop() { stopped_ = true; }
  bool stopped() const { return !entries_ || stopped_; }
  std::vector<PageName> pages() const;

 private:
  // 12 bits of index + 1 (0: not written yet), 52 bits of page number.
  static uint64_t pack(PageName p) { return static_cast<uint64_t>(p.index + 1) << 52 | p.origin / kPageSize; }

  std::unique_ptr<std::atomic<uint64_t>[]> entries_;
  std::atomic<size_t> count_ = 0;
  std::atomic<bool> stopped_ = false;
};

}  // namespace faultline::lazy
