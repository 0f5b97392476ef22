#include "uffd/userfault.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/sys/kernel.h"

namespace faultline::uffd {

namespace {

// The first and last page that user space may ever map on a 47-bit address space; nothing registers the last one.
constexpr Vaddr kLowest = 1 << 16;
constexpr Vaddr kHighest = (uint64_t{1} << 47) - 2 * kPageSize;

// The kernel reports the bytes done in the structure and the reason for stopping in errno; with no byte done, in both.
Progress progress_of(int result, int64_t done) {
  if (result == 0) return {.bytes = static_cast<uint64_t>(done), .error = 0};
  const int code = errno;
  return {.bytes = done > 0 ? static_cast<uint64_t>(done) : 0, .error = code};
}

}  // namespace

Event decode(const uffd_msg& message) {
  switch (message.event) {
    case UFFD_EVENT_PAGEFAULT:
      return Fault{page_down(message.arg.pagefault.address), (message.arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WRITE) != 0};
    case UFFD_EVENT_FORK: return Fork{static_cast<int>(message.arg.fork.ufd)};
    case UFFD_EVENT_REMAP: return Remap{message.arg.remap.from, message.arg.remap.to, message.arg.remap.len};
    case UFFD_EVENT_REMOVE: return Remove{message.arg.remove.start, message.arg.remove.end};
    case UFFD_EVENT_UNMAP: return Unmap{message.arg.remove.start, message.arg.remove.end};
    default: return Unknown{message.event};
  }
}

Result<Userfault> Userfault::create(uint64_t features) {
  UniqueFd fd(static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK)));
  if (!fd) return sys_error("cannot create a userfaultfd");
  uffdio_api api = {.api = UFFD_API, .features = features, .ioctls = 0};
  if (::ioctl(fd.get(), UFFDIO_API, &api) != 0) return sys_error("userfaultfd: the kernel lacks some of the features {:#x}", features);
  return Userfault(std::move(fd));
}

Result<void> Userfault::register_range(Vaddr start, uint64_t length, uint64_t mode) const {
  uffdio_register range = {.range = {.start = start, .len = length}, .mode = mode, .ioctls = 0};
  if (::ioctl(fd_.get(), UFFDIO_REGISTER, &range) != 0)
    return sys_error("cannot register {:#x}-{:#x} with userfaultfd", start, start + length);
  return {};
}

Result<void> UserfaultRef::unregister_range(Vaddr start, uint64_t length) const {
  uffdio_range range = {.start = start, .len = length};
  if (::ioctl(fd_, UFFDIO_UNREGISTER, &range) != 0)
    return sys_error("cannot unregister {:#x}-{:#x} from userfaultfd", start, start + length);
  return {};
}

Progress UserfaultRef::copy(Vaddr target, const void* source, uint64_t length) const {
  // The kernel takes no range that reaches over the border of two of its areas (ENOENT, mm/userfaultfd.c), and neighbours that look alike
  // need not be one area to it: it does not merge areas whose pages were first touched apart. A shorter part ends at the border.
  for (;; length = length / 2 / kPageSize * kPageSize) {
    uffdio_copy copy = {.dst = target, .src = reinterpret_cast<uint64_t>(source), .len = length, .mode = 0, .copy = 0};
    const int result = ::ioctl(fd_, UFFDIO_COPY, &copy);
    const Progress progress = progress_of(result, copy.copy);
    if (progress.error != ENOENT || progress.bytes != 0 || length < 2 * kPageSize) return progress;
  }
}

Progress UserfaultRef::zeropage(Vaddr target, uint64_t length) const {
  uffdio_zeropage zero = {.range = {.start = target, .len = length}, .mode = 0, .zeropage = 0};
  const int result = ::ioctl(fd_, UFFDIO_ZEROPAGE, &zero);
  return progress_of(result, zero.zeropage);
}

Progress UserfaultRef::poison(Vaddr target, uint64_t length) const {
  uffdio_poison poison = {.range = {.start = target, .len = length}, .mode = 0, .updated = 0};
  const int result = ::ioctl(fd_, UFFDIO_POISON, &poison);
  return progress_of(result, poison.updated);
}

void UserfaultRef::wake(Vaddr start, uint64_t length) const {
  uffdio_range range = {.start = start, .len = length};
  // Fails only for ranges that no process can have (EINVAL), where nobody waits.
  (void)::ioctl(fd_, UFFDIO_WAKE, &range);
}

void UserfaultRef::wake_all() const { wake(kLowest, kHighest - kLowest); }

bool UserfaultRef::alive() const {
  // A zero page for a place that is never registered: ENOENT or EAGAIN from a living address space, ESRCH from one that is gone.
  return zeropage(kHighest - kPageSize, kPageSize).error != ESRCH;
}

Result<size_t> UserfaultRef::read(std::span<uffd_msg> messages) const {
  for (;;) {
    const ssize_t n = ::read(fd_, messages.data(), messages.size_bytes());
    if (n >= 0) return static_cast<size_t>(n) / sizeof(uffd_msg);
    if (errno == EINTR) continue;
    if (errno == EAGAIN) return size_t{0};
    return sys_error("cannot read from a userfaultfd");
  }
}

}  // namespace faultline::uffd
