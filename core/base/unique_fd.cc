#include "core/base/unique_fd.h"

#include <unistd.h>

namespace faultline {

void UniqueFd::reset(int fd) {
  const int old = std::exchange(fd_, fd);
  if (old >= 0) ::close(old);
}

namespace {

// Calls `transfer(done)` until `size` bytes are through; a return of 0 ends it early.
template <typename Transfer>
Result<size_t> transfer_all(size_t size, const char* verb, const char* name, Transfer transfer) {
  size_t done = 0;
  while (done < size) {
    const ssize_t n = transfer(done);
    if (n < 0) {
      if (errno == EINTR) continue;
      return sys_error("cannot {} {}", verb, name);
    }
    if (n == 0) break;
    done += static_cast<size_t>(n);
  }
  return done;
}

}  // namespace

Result<void> pread_all(int fd, void* to, size_t size, off_t offset, const char* name) {
  const size_t done = TRY(transfer_all(size, "read", name, [&](size_t at) {
    return ::pread(fd, static_cast<char*>(to) + at, size - at, offset + static_cast<off_t>(at));
  }));
  if (done < size) return error(EBADMSG, "{}: ends at offset {}, {} bytes early", name, offset + static_cast<off_t>(done), size - done);
  return {};
}

Result<void> write_all(int fd, const void* from, size_t size, const char* name) {
  const size_t done = TRY(transfer_all(size, "write", name, [&](size_t at) {
    return ::write(fd, static_cast<const char*>(from) + at, size - at);
  }));
  if (done < size) return error(EIO, "{}: only {} of {} bytes were written", name, done, size);
  return {};
}

Result<void> pwrite_all(int fd, const void* from, size_t size, off_t offset, const char* name) {
  const size_t done = TRY(transfer_all(size, "write", name, [&](size_t at) {
    return ::pwrite(fd, static_cast<const char*>(from) + at, size - at, offset + static_cast<off_t>(at));
  }));
  if (done < size) return error(EIO, "{}: only {} of {} bytes were written", name, done, size);
  return {};
}

}  // namespace faultline
