#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/base/mapping.h"
#include "core/base/unique_fd.h"
#include "core/image/page_index.h"
#include "pageserver/protocol.h"

namespace faultline::lazy {

using image::Extent;
using image::PageIndex;

// One pages-<n>.img, mapped, so that its pages go from the page cache to the process in one copy. Safe from any thread.
// Offsets and lengths are bytes, page aligned, inside the file as it was when it was opened.
class PagesFile {
 public:
  // Errors: those of fstat(2) and mmap(2).
  static Result<PagesFile> open(UniqueFd fd, std::string name);

  int fd() const { return fd_.get(); }
  uint64_t size() const { return mapping_.size(); }
  const std::string& name() const { return name_; }

  // Reads what is in the page cache, without waiting: gives how many bytes were there, in whole pages; 0 if the first page is not.
  // Errors: those of pread(2); EBADMSG if the file has become shorter.
  Result<uint64_t> read_resident(uint64_t offset, std::span<std::byte> to) const;
  // Reads all, waiting for the disk. Errors as above.
  Result<void> read(uint64_t offset, std::span<std::byte> to) const;

  // Whether all pages are in the page cache.
  bool resident(uint64_t offset, uint64_t length) const;
  // Makes data() of the range ready to be copied from; waits for the disk if it is not resident. Errors: those of reading.
  Result<void> prepare(uint64_t offset, uint64_t length) const;

  // The file in windows, of which each is ready to be copied from or not. A window that is ready may be copied from without waiting,
  // unless memory is so short that its pages were evicted meanwhile.
  static constexpr uint64_t kWindow = 2 << 20;
  uint64_t windows() const { return (size() + kWindow - 1) / kWindow; }
  bool window_ready(uint64_t offset) const { return (*ready_)[offset / kWindow].load(std::memory_order_acquire); }
  // The parts of the window that holds `offset`.
  uint64_t window_start(uint64_t offset) const { return offset / kWindow * kWindow; }
  uint64_t window_end(uint64_t offset) const { return std::min(window_start(offset) + kWindow, size()); }
  // Errors: those of reading; the window is then not ready.
  Result<void> prepare_window(uint64_t offset) const;
  // The opposite, so that the memory that the pager maps stays bounded.
  void forget_window(uint64_t offset) const;

  // Not to be dereferenced: the file may be cut. The kernel may copy from it (EFAULT).
  const std::byte* data(uint64_t offset) const { return mapping_.data() + offset; }

 private:
  UniqueFd fd_;
  Mapping mapping_;
  std::string name_;
  std::unique_ptr<std::vector<std::atomic<bool>>> ready_;  // by window
};

struct RemoteOptions;

// Everything that the restored processes' pages come from. Built before the pager starts, immutable from then on.
struct Memory {
  struct Index {
    PageIndex pages;
    bool shared = false;  // an object that several processes may have mapped; addresses are offsets in it
    pageserver::ObjectId object = 0;  // its name at a page server, if it has remote pages
  };
  std::vector<PagesFile> files;
  std::vector<Index> indexes;
  RemoteOptions* remote = nullptr;  // how pages that are in no file are reached; set if an index has such
};

}  // namespace faultline::lazy
