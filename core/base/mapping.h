#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/base/result.h"

namespace faultline {

// A byte address in some process's address space, not to be dereferenced here.
using Vaddr = uint64_t;

inline constexpr size_t kPageSize = 4096;

inline constexpr uint64_t page_down(uint64_t value) { return value & ~(kPageSize - 1); }
inline constexpr uint64_t page_up(uint64_t value) { return page_down(value + kPageSize - 1); }

// The one owner of a mapping in this process.
class Mapping {
 public:
  Mapping() = default;
  Mapping(Mapping&& other) noexcept;
  Mapping& operator=(Mapping&& other) noexcept;
  ~Mapping();

  // mmap(2) with these arguments. `what` names the thing mapped, for the message. A length of 0 gives an empty mapping.
  static Result<Mapping> map(size_t length, int prot, int flags, int fd, off_t offset, const char* what);
  // Takes over a mapping that was made by other means.
  static Mapping adopt(void* start, size_t length);

  std::byte* data() const { return static_cast<std::byte*>(start_); }
  size_t size() const { return length_; }
  std::span<std::byte> bytes() const { return {data(), length_}; }
  void reset();

 private:
  void* start_ = nullptr;
  size_t length_ = 0;
};

}  // namespace faultline
