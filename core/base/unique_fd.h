#pragma once

#include <utility>

#include "core/base/result.h"

namespace faultline {

// The one owner of a file descriptor. Closing clears first and never retries (close(2): after EINTR the descriptor is gone).
class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(other.release()) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    if (this != &other) reset(other.release());
    return *this;
  }
  ~UniqueFd() { reset(); }

  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  int release() { return std::exchange(fd_, -1); }
  void reset(int fd = -1);

 private:
  int fd_ = -1;
};

// Reads exactly `size` bytes at `offset`. Errors: EBADMSG at an early end of file, otherwise those of pread(2). `name` is for the message.
Result<void> pread_all(int fd, void* to, size_t size, off_t offset, const char* name);

// Writes all bytes at the current position, or at `offset`. Errors: those of write(2).
Result<void> write_all(int fd, const void* from, size_t size, const char* name);
Result<void> pwrite_all(int fd, const void* from, size_t size, off_t offset, const char* name);

}  // namespace faultline
