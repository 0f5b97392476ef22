#include "core/base/mapping.h"

#include <sys/mman.h>

#include <utility>

namespace faultline {

Mapping::Mapping(Mapping&& other) noexcept : start_(std::exchange(other.start_, nullptr)), length_(std::exchange(other.length_, 0)) {}

Mapping& Mapping::operator=(Mapping&& other) noexcept {
  if (this != &other) {
    reset();
    start_ = std::exchange(other.start_, nullptr);
    length_ = std::exchange(other.length_, 0);
  }
  return *this;
}

Mapping::~Mapping() { reset(); }

void Mapping::reset() {
  if (length_ != 0) ::munmap(start_, length_);
  start_ = nullptr;
  length_ = 0;
}

Result<Mapping> Mapping::map(size_t length, int prot, int flags, int fd, off_t offset, const char* what) {
  if (length == 0) return Mapping();
  void* start = ::mmap(nullptr, length, prot, flags, fd, offset);
  if (start == MAP_FAILED) return sys_error("cannot map {} bytes of {}", length, what);
  return adopt(start, length);
}

Mapping Mapping::adopt(void* start, size_t length) {
  Mapping mapping;
  mapping.start_ = start;
  mapping.length_ = length;
  return mapping;
}

}  // namespace faultline
