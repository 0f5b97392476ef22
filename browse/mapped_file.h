#pragma once

#include <memory>
#include <span>

#include "core/base/mapping.h"
#include "core/base/unique_fd.h"
#include "core/image/messages.h"

namespace faultline::browse {

// A file that the dumped process had mapped, on this machine. The images do not hold what it has not changed, so that this is the only place.
// Immutable; safe from any thread.
class MappedFile {
 public:
  // Opens the file by its path, and checks that it is the one of the dump as far as the images tell: a regular file with the size and the
  // ELF build id of the entry. Errors: ESTALE if it is another, ENOENT, other errors of open(2).
  static Result<std::shared_ptr<const MappedFile>> open(const image::RegFileEntry& entry);

  int fd() const { return fd_.get(); }
  uint64_t size() const { return size_; }  // bytes
  // Errors: EIO at or behind the end (where the process would get SIGBUS), except for the rest of the last page, which is zeros.
  Result<void> read(uint64_t offset, std::span<std::byte> to) const;

 private:
  MappedFile(UniqueFd fd, uint64_t size) : fd_(std::move(fd)), size_(size) {}
  UniqueFd fd_;
  uint64_t size_;
};

}  // namespace faultline::browse
