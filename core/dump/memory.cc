#include "core/dump/memory.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>

#include "core/sys/kernel.h"

namespace faultline::dump {

namespace {

constexpr size_t kRegions = 1024;  // that one PAGEMAP_SCAN may return
constexpr size_t kMaxRuns = 4096;  // that are kept before they are stored

// Collects what stands in ascending order into runs that are as long as can be, and hands them to the store in bounded portions.
class Sink {
 public:
  Sink(PageStore& store, MemoryReader memory) : store_(store), memory_(std::move(memory)) {}

  Result<void> add(Vaddr start, Vaddr end, uint32_t flags) {
    const uint64_t pages = (end - start) / kPageSize;
    (flags & image::kPagePresent ? counts_.pages_written : counts_.pages_left) += pages;
    if (!runs_.empty() && runs_.back().flags == flags && runs_.back().end() == start) {
      runs_.back().pages += pages;
      return {};
    }
    if (runs_.size() >= kMaxRuns) TRY(flush());
    runs_.push_back({start, pages, flags});
    return {};
  }

  Result<MemoryCounts> finish() {
    TRY(flush());
    TRY(store_.end());
    return counts_;
  }

  MemoryCounts& counts() { return counts_; }

 private:
  Result<void> flush() {
    TRY(store_.put(runs_, memory_));
    runs_.clear();
    return {};
  }

  PageStore& store_;
  MemoryReader memory_;
  std::vector<PageRun> runs_;
  MemoryCounts counts_;
};

class Scanner {
 public:
  Scanner(pid_t pid, int pagemap, const std::vector<Vaddr>& stack_pages, LatePages late, Sink& sink)
      : pid_(pid), pagemap_(pagemap), stack_pages_(stack_pages), late_(late), sink_(sink), regions_(kRegions) {}

  Result<void> scan(const PrivateRange& range) {
    sink_.counts().pages_scanned += (range.end - range.start) / kPageSize;
    // Present or swapped; not the zero page, and in file mappings not the file's own pages; no guard markers.
    const uint64_t not_these = PAGE_IS_PFNZERO | (range.file ? PAGE_IS_FILE : 0) | guard_;
    pm_scan_arg arg = {};
    arg.size = sizeof arg;
    arg.start = range.start;
    arg.end = range.end;
    arg.vec = reinterpret_cast<uint64_t>(regions_.data());
    arg.vec_len = regions_.size();
    arg.category_inverted = not_these;
    arg.category_mask = not_these;
    arg.category_anyof_mask = PAGE_IS_PRESENT | PAGE_IS_SWAPPED;
    arg.return_mask = PAGE_IS_PRESENT;
    while (arg.start < range.end) {
      const int found = ::ioctl(pagemap_, PAGEMAP_SCAN, &arg);
      if (found < 0 && errno == EINVAL && guard_) {
        guard_ = 0;  // an older kernel, which has no such category
        return scan(range);
      }
      if (found < 0) return sys_error("pid {}: the pages of {:x}-{:x} cannot be scanned (PAGEMAP_SCAN)", pid_, range.start, range.end);
      for (int i = 0; i < found; ++i) TRY(add(regions_[i].start, regions_[i].end, range.lazy));
      if (arg.walk_end <= arg.start) break;
      arg.start = arg.walk_end;
    }
    return {};
  }

 private:
  // Pages in which a stack pointer stands must be there before the thread runs.
  Result<void> add(Vaddr start, Vaddr end, bool lazy) {
    constexpr uint32_t kNow = image::kPagePresent;
    const auto late = static_cast<uint32_t>(late_);
    if (!lazy) return sink_.add(start, end, kNow);
    for (auto at = std::lower_bound(stack_pages_.begin(), stack_pages_.end(), start); at != stack_pages_.end() && *at < end; ++at) {
      if (start < *at) TRY(sink_.add(start, *at, late));
      TRY(sink_.add(*at, *at + kPageSize, kNow));
      start = *at + kPageSize;
    }
    return start < end ? sink_.add(start, end, late) : Result<void>();
  }

  pid_t pid_;
  int pagemap_;
  const std::vector<Vaddr>& stack_pages_;
  const LatePages late_;
  Sink& sink_;
  std::vector<page_region> regions_;
  uint64_t guard_ = PAGE_IS_GUARD;
};

}  // namespace

Result<MemoryCounts> write_memory(pid_t pid, const AddressSpace& space, const std::vector<Vaddr>& stack_pages, LatePages late, PageStore& store) {
  UniqueFd pagemap(::open(fmt::format("/proc/{}/pagemap", pid).c_str(), O_RDONLY | O_CLOEXEC));
  if (!pagemap) return sys_error("/proc/{}/pagemap", pid);
  TRY(store.begin(pageserver::object_id(static_cast<uint64_t>(pid), pageserver::kTaskMemory)));
  Sink sink(store, TRY(MemoryReader::of_task(pid)));
  Scanner scanner(pid, pagemap.get(), stack_pages, late, sink);
  for (const PrivateRange& range : space.ranges) TRY(scanner.scan(range));
  return sink.finish();
}

Result<MemoryCounts> write_shared(const objects::SharedObject& object, PageStore& store) {
  TRY(store.begin(pageserver::object_id(object.shmid, pageserver::kSharedMemory)));
  Sink sink(store, MemoryReader::of_object(object.fd.get()));
  const auto size = static_cast<off_t>(page_up(object.size));
  sink.counts().pages_scanned = static_cast<uint64_t>(size) / kPageSize;
  for (off_t at = 0; at < size;) {
    const off_t data = ::lseek(object.fd.get(), at, SEEK_DATA);
    if (data < 0 && errno == ENXIO) break;
    if (data < 0) return sys_error("shared memory {}: looking for data", object.shmid);
    off_t hole = ::lseek(object.fd.get(), data, SEEK_HOLE);
    if (hole < 0) return sys_error("shared memory {}: looking for a hole", object.shmid);
    hole = std::min<off_t>(static_cast<off_t>(page_up(static_cast<uint64_t>(hole))), size);
    TRY(sink.add(page_down(static_cast<uint64_t>(data)), static_cast<uint64_t>(hole), static_cast<uint32_t>(LatePages::kStored)));
    at = hole;
  }
  return sink.finish();
}

}  // namespace faultline::dump
