#pragma once

#include <cstddef>
#include <span>

#include "core/base/mapping.h"

namespace faultline::pageserver {

// A ring of bytes that always reads and writes as one piece: its memory is mapped twice, one copy behind the other. One thread.
class ReceiveBuffer {
 public:
  // `capacity`: a power of two, whole pages. Errors: those of memfd_create(2) and mmap(2).
  static Result<ReceiveBuffer> create(size_t capacity);

  std::span<const std::byte> filled() const { return {memory_.data() + start_, size_}; }
  std::span<std::byte> room() { return {memory_.data() + start_ + size_, capacity_ - size_}; }
  void written(size_t bytes) { size_ += bytes; }
  void consumed(size_t bytes);

 private:
  Mapping memory_;
  size_t capacity_ = 0;
  size_t start_ = 0;  // below capacity_
  size_t size_ = 0;
};

}  // namespace faultline::pageserver
