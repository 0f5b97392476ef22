#include "pageserver/receive_buffer.h"

#include <sys/mman.h>
#include <unistd.h>

#include "core/base/unique_fd.h"

namespace faultline::pageserver {

Result<ReceiveBuffer> ReceiveBuffer::create(size_t capacity) {
  FL_CHECK(capacity % kPageSize == 0 && (capacity & (capacity - 1)) == 0);
  const UniqueFd fd(::memfd_create("faultline-receive", MFD_CLOEXEC));
  if (!fd || ::ftruncate(fd.get(), static_cast<off_t>(capacity)) != 0) return sys_error("cannot make a receive buffer of {} bytes", capacity);
  ReceiveBuffer buffer;
  buffer.capacity_ = capacity;
  buffer.memory_ = TRY(Mapping::map(2 * capacity, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0, "a receive buffer"));
  for (std::byte* at : {buffer.memory_.data(), buffer.memory_.data() + capacity})
    if (::mmap(at, capacity, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd.get(), 0) == MAP_FAILED) return sys_error("cannot map a receive buffer");
  return buffer;
}

void ReceiveBuffer::consumed(size_t bytes) {
  FL_CHECK(bytes <= size_);
  size_ -= bytes;
  // Empty, it begins anew: what is in the cache of the processor is used again.
  start_ = size_ == 0 ? 0 : (start_ + bytes) & (capacity_ - 1);
}

}  // namespace faultline::pageserver
