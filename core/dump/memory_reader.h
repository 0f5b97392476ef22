#pragma once

#include <sys/types.h>

#include <cstddef>
#include <span>

#include "core/base/mapping.h"
#include "core/base/result.h"
#include "core/base/unique_fd.h"

namespace faultline::dump {

// Reads the memory of a frozen process, or of a shared memory object. Any thread may read, several at a time.
class MemoryReader {
 public:
  // Errors: those of opening /proc/PID/mem.
  static Result<MemoryReader> of_task(pid_t pid);
  // `fd` stays the caller's. Addresses are offsets in the object; what lies behind its end reads as zero (it need not end with a whole page).
  static MemoryReader of_object(int fd) { return MemoryReader(0, fd); }

  // Fills `to` with what stands at `from`. Errors: ESRCH if the process is gone, EIO for a page that cannot be read.
  Result<void> read(Vaddr from, std::span<std::byte> to) const;

 private:
  MemoryReader(pid_t pid, int fd) : pid_(pid), fd_(fd) {}
  Result<void> read_task(Vaddr from, std::span<std::byte> to) const;
  Result<void> read_object(Vaddr from, std::span<std::byte> to) const;

  pid_t pid_;     // 0: an object
  UniqueFd mem_;  // of a task
  int fd_;
};

}  // namespace faultline::dump
