#include "lazy/pages_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>

namespace faultline::lazy {

Result<PagesFile> PagesFile::open(UniqueFd fd, std::string name) {
  struct stat st;
  if (::fstat(fd.get(), &st) != 0) return sys_error("{}: cannot find the size", name);
  PagesFile file;
  file.mapping_ = TRY(Mapping::map(page_down(static_cast<uint64_t>(st.st_size)), PROT_READ, MAP_SHARED, fd.get(), 0, name.c_str()));
  file.fd_ = std::move(fd);
  file.name_ = std::move(name);
  file.ready_ = std::make_unique<std::vector<std::atomic<bool>>>(file.windows());
  return file;
}

Result<uint64_t> PagesFile::read_resident(uint64_t offset, std::span<std::byte> to) const {
  const iovec iov = {.iov_base = to.data(), .iov_len = to.size()};
  for (;;) {
    const ssize_t n = ::preadv2(fd_.get(), &iov, 1, static_cast<off_t>(offset), RWF_NOWAIT);
    if (n > 0) return page_down(static_cast<uint64_t>(n));
    if (n == 0) return error(EBADMSG, "{}: has become shorter, offset {:#x} is past its end", name_, offset);
    if (errno == EINTR) continue;
    if (errno == EAGAIN) return uint64_t{0};
    if (errno != EOPNOTSUPP) return sys_error("{}: cannot read at offset {:#x}", name_, offset);
    // A file system that cannot say whether it would wait.
    TRY(read(offset, to));
    return to.size();
  }
}

Result<void> PagesFile::read(uint64_t offset, std::span<std::byte> to) const {
  return pread_all(fd_.get(), to.data(), to.size(), static_cast<off_t>(offset), name_.c_str());
}

namespace {

// cachestat(2), Linux 6.5: counts by folio, where mincore(2) looks at each page.
struct CacheRange {
  uint64_t offset, length;
};
struct CacheCounts {
  uint64_t cached, dirty, writeback, evicted, recently_evicted;
};
constexpr long kSysCachestat = 451;  // the same on all architectures

}  // namespace

bool PagesFile::resident(uint64_t offset, uint64_t length) const {
  CacheRange range = {offset, length};
  CacheCounts counts = {};
  if (::syscall(kSysCachestat, fd_.get(), &range, &counts, 0) == 0) return counts.cached >= length / kPageSize;
  std::array<unsigned char, 512> pages;
  while (length != 0) {
    const uint64_t step = std::min(length, pages.size() * kPageSize);
    if (::mincore(mapping_.data() + offset, step, pages.data()) != 0) return true;  // cannot be told: as if it were
    for (uint64_t i = 0; i < step / kPageSize; ++i)
      if ((pages[i] & 1) == 0) return false;
    offset += step;
    length -= step;
  }
  return true;
}

Result<void> PagesFile::prepare(uint64_t offset, uint64_t length) const {
  while (::madvise(mapping_.data() + offset, length, MADV_POPULATE_READ) != 0) {
    if (errno == EINTR || errno == EAGAIN) continue;
    // Why, is told by reading: madvise() has only EFAULT for it.
    std::array<std::byte, kPageSize> page;
    for (uint64_t at = offset; at < offset + length; at += kPageSize) TRY(read(at, page));
    return {};
  }
  return {};
}

Result<void> PagesFile::prepare_window(uint64_t offset) const {
  const uint64_t start = window_start(offset);
  TRY(prepare(start, window_end(offset) - start));
  (*ready_)[offset / kWindow].store(true, std::memory_order_release);
  return {};
}

void PagesFile::forget_window(uint64_t offset) const {
  (*ready_)[offset / kWindow].store(false, std::memory_order_release);
  const uint64_t start = window_start(offset);
  (void)::madvise(mapping_.data() + start, window_end(offset) - start, MADV_DONTNEED);
}

}  // namespace faultline::lazy
