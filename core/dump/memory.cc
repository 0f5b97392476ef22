#include "core/dump/memory.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <thread>

#include "core/base/mapping.h"
#include "core/sys/kernel.h"

namespace faultline::dump {

namespace {

// Small enough to stay in the cache between being read from the process and being written to the file.
constexpr size_t kChunk = 256 << 10;
constexpr size_t kRegions = 1024;  // that one PAGEMAP_SCAN may return
// From so many bytes on a second thread pays for its start.
constexpr uint64_t kParallelFrom = 8 << 20;
// From so many bytes on space is reserved ahead, which makes writing faster and bringing to the disk slower (ext4 marks it as written then).
constexpr uint64_t kReserveFrom = 64 << 20;

struct Run {
  Vaddr start;
  uint64_t bytes;
  uint64_t offset;  // in the pages file
};

// Copies runs of pages into the pages file. Each call takes the next piece, so that several threads may do it side by side.
class Copier {
 public:
  Copier(pid_t pid, int source, int pages, const Written& written) : pid_(pid), source_(source), pages_(pages), written_(written) {}

  // Copies all runs. `parallel`: with a second thread. Errors: those of reading the process or writing the file, the first one met.
  Result<void> copy(const std::vector<Run>& runs, bool parallel) {
    next_run_ = 0;
    runs_ = &runs;
    Result<void> mine, other;
    if (parallel) {
      std::thread second([&] { other = work(); });
      mine = work();
      second.join();
    } else {
      mine = work();
    }
    if (!mine) return mine;
    return other;
  }

 private:
  Result<void> work() {
    std::vector<std::byte> buffer(kChunk);
    for (size_t i; (i = next_run_.fetch_add(1)) < runs_->size();) {
      const Run& run = (*runs_)[i];
      TRY(read(run, buffer.data()));
      TRY(pwrite_all(pages_, buffer.data(), run.bytes, static_cast<off_t>(run.offset), "the pages image"));
      TRY(written_(run.bytes));
    }
    return {};
  }

  Result<void> read(const Run& run, std::byte* to) {
    if (pid_ == 0) return read_object(run, to);
    iovec here = {to, run.bytes}, there = {reinterpret_cast<void*>(run.start), run.bytes};
    const ssize_t got = ::process_vm_readv(pid_, &here, 1, &there, 1, 0);
    if (got == static_cast<ssize_t>(run.bytes)) return {};
    if (got < 0 && errno != EFAULT) return sys_error("the memory of pid {} at {:#x} cannot be read", pid_, run.start);
    // Pages without read permission can be read only this way.
    return pread_all(source_, to, run.bytes, static_cast<off_t>(run.start), "memory of the process");
  }

  // An object need not end with a whole page.
  Result<void> read_object(const Run& run, std::byte* to) {
    size_t got = 0;
    while (got < run.bytes) {
      const ssize_t n = ::pread(source_, to + got, run.bytes - got, static_cast<off_t>(run.start + got));
      if (n < 0) return sys_error("shared memory cannot be read");
      if (n == 0) break;
      got += static_cast<size_t>(n);
    }
    std::fill(to + got, to + run.bytes, std::byte{0});
    return {};
  }

  pid_t pid_;
  int source_;
  int pages_;
  const Written& written_;
  const std::vector<Run>* runs_ = nullptr;
  std::atomic<size_t> next_run_{0};
};

// Collects runs in ascending order, writes their pagemap entries, and hands the runs to the copier in bounded portions.
class Sink {
 public:
  Sink(const image::ImageDir& dir, std::string file, uint32_t pages_id, pid_t pid, int source, const Written& written)
      : dir_(dir), file_(std::move(file)), pages_id_(pages_id), pid_(pid), source_(source), written_(written) {}

  Result<void> add(Vaddr start, Vaddr end, uint32_t flags) {
    if (!pages_) TRY(begin());
    counts_.pages_written += (end - start) / kPageSize;
    if (entry_.flags == flags && entry_.vaddr + *entry_.nr_pages * kPageSize == start) {
      *entry_.nr_pages += (end - start) / kPageSize;
    } else {
      TRY(put_entry());
      entry_ = {.vaddr = start, .compat_nr_pages = 0, .in_parent = {}, .flags = flags, .nr_pages = (end - start) / kPageSize};
    }
    while (start < end) {
      const uint64_t bytes = std::min<uint64_t>(end - start, kChunk);
      runs_.push_back({start, bytes, offset_});
      pending_ += bytes;
      start += bytes, offset_ += bytes;
      if (runs_.size() >= 4096) TRY(flush());
    }
    return {};
  }

  Result<MemoryCounts> finish() {
    if (!pages_) TRY(begin());  // also without a page: a missing pagemap is a damaged checkpoint
    TRY(put_entry());
    TRY(flush());
    TRY(writer_->close());
    return counts_;
  }

  MemoryCounts& counts() { return counts_; }

 private:
  Result<void> begin() {
    pages_ = TRY(dir_.open_file(fmt::format("pages-{}.img", pages_id_), O_RDWR | O_CREAT | O_TRUNC));
    writer_ = TRY(image::Writer::create(dir_, file_, image::kPagemap));
    TRY(writer_->put(image::PagemapHead{.pages_id = pages_id_}));
    copier_.emplace(pid_, source_, pages_.get(), written_);
    return {};
  }

  Result<void> put_entry() {
    if (!entry_.nr_pages) return {};
    // Older readers know only the 32-bit count.
    entry_.compat_nr_pages = static_cast<uint32_t>(std::min<uint64_t>(*entry_.nr_pages, UINT32_MAX));
    TRY(writer_->put(entry_));
    return {};
  }

  Result<void> flush() {
    const bool parallel = pending_ >= kParallelFrom;
    if (pending_ >= kReserveFrom) TRY(reserve());
    TRY(copier_->copy(runs_, parallel));
    runs_.clear();
    pending_ = 0;
    return {};
  }

  // Space reserved at once is written a third faster than space found page by page (ext4: 165 instead of 250 ms per GiB), and a disk that is
  // full is told before anything is copied.
  Result<void> reserve() {
    if (::fallocate(pages_.get(), 0, static_cast<off_t>(offset_ - pending_), static_cast<off_t>(pending_)) == 0) return {};
    if (errno == ENOSPC || errno == EDQUOT || errno == EFBIG) return sys_error("{} bytes for pages-{}.img", pending_, pages_id_);
    return {};  // not every file system can
  }

  const image::ImageDir& dir_;
  std::string file_;
  uint32_t pages_id_;
  pid_t pid_;
  int source_;
  const Written& written_;
  UniqueFd pages_;
  std::optional<image::Writer> writer_;
  std::optional<Copier> copier_;
  image::PagemapEntry entry_;
  std::vector<Run> runs_;
  uint64_t pending_ = 0, offset_ = 0;
  MemoryCounts counts_;
};

class Scanner {
 public:
  Scanner(pid_t pid, int pagemap, const std::vector<Vaddr>& stack_pages, Sink& sink)
      : pid_(pid), pagemap_(pagemap), stack_pages_(stack_pages), sink_(sink), regions_(kRegions) {}

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
    constexpr uint32_t kNow = image::kPagePresent, kLate = image::kPagePresent | image::kPageLazy;
    if (!lazy) return sink_.add(start, end, kNow);
    for (auto at = std::lower_bound(stack_pages_.begin(), stack_pages_.end(), start); at != stack_pages_.end() && *at < end; ++at) {
      if (start < *at) TRY(sink_.add(start, *at, kLate));
      TRY(sink_.add(*at, *at + kPageSize, kNow));
      start = *at + kPageSize;
    }
    return start < end ? sink_.add(start, end, kLate) : Result<void>();
  }

  pid_t pid_;
  int pagemap_;
  const std::vector<Vaddr>& stack_pages_;
  Sink& sink_;
  std::vector<page_region> regions_;
  uint64_t guard_ = PAGE_IS_GUARD;
};

}  // namespace

Result<MemoryCounts> write_memory(pid_t pid, const AddressSpace& space, const std::vector<Vaddr>& stack_pages, const image::ImageDir& dir,
                                  uint32_t pages_id, const Written& written) {
  UniqueFd pagemap(::open(fmt::format("/proc/{}/pagemap", pid).c_str(), O_RDONLY | O_CLOEXEC));
  if (!pagemap) return sys_error("/proc/{}/pagemap", pid);
  UniqueFd mem(::open(fmt::format("/proc/{}/mem", pid).c_str(), O_RDONLY | O_CLOEXEC));
  if (!mem) return sys_error("/proc/{}/mem", pid);
  Sink sink(dir, fmt::format("pagemap-{}.img", pid), pages_id, pid, mem.get(), written);
  Scanner scanner(pid, pagemap.get(), stack_pages, sink);
  for (const PrivateRange& range : space.ranges) TRY(scanner.scan(range));
  return sink.finish();
}

Result<MemoryCounts> write_shared(const objects::SharedObject& object, const image::ImageDir& dir, uint32_t pages_id, const Written& written) {
  Sink sink(dir, fmt::format("pagemap-shmem-{}.img", object.shmid), pages_id, 0, object.fd.get(), written);
  const auto size = static_cast<off_t>(page_up(object.size));
  sink.counts().pages_scanned = static_cast<uint64_t>(size) / kPageSize;
  for (off_t at = 0; at < size;) {
    const off_t data = ::lseek(object.fd.get(), at, SEEK_DATA);
    if (data < 0 && errno == ENXIO) break;
    if (data < 0) return sys_error("shared memory {}: looking for data", object.shmid);
    off_t hole = ::lseek(object.fd.get(), data, SEEK_HOLE);
    if (hole < 0) return sys_error("shared memory {}: looking for a hole", object.shmid);
    hole = std::min<off_t>(static_cast<off_t>(page_up(static_cast<uint64_t>(hole))), size);
    TRY(sink.add(page_down(static_cast<uint64_t>(data)), static_cast<uint64_t>(hole), image::kPagePresent));
    at = hole;
  }
  return sink.finish();
}

}  // namespace faultline::dump
