#pragma once

#include <linux/userfaultfd.h>

#include <cstdint>
#include <span>
#include <variant>

#include "core/base/mapping.h"
#include "core/base/result.h"
#include "core/base/unique_fd.h"

// userfaultfd(2) as it is: no policy, no state besides the descriptor. Addresses and lengths are bytes, page aligned.
namespace faultline::uffd {

// A thread waits for the page at `address` (cut to the page).
struct Fault {
  Vaddr address;
  bool write;
};
// The process forked. `child` is the child's userfaultfd, a new descriptor that the receiver of the event owns.
struct Fork {
  int child;
};
// mremap(2) has moved the mappings; `length` is the old length. A length of 0: a shared mapping was duplicated.
struct Remap {
  Vaddr from;
  Vaddr to;
  uint64_t length;
};
// The range is about to be emptied (MADV_DONTNEED, MADV_FREE, MADV_REMOVE).
struct Remove {
  Vaddr start;
  Vaddr end;
};
// The range is no longer mapped.
struct Unmap {
  Vaddr start;
  Vaddr end;
};
// A kind of message that this kernel sends and we did not ask for.
struct Unknown {
  uint8_t kind;
};
using Event = std::variant<Fault, Fork, Remap, Remove, Unmap, Unknown>;

Event decode(const uffd_msg& message);

// The events without which a process cannot run while its memory arrives.
inline constexpr uint64_t kLazyFeatures =
    UFFD_FEATURE_EVENT_FORK | UFFD_FEATURE_EVENT_REMAP | UFFD_FEATURE_EVENT_REMOVE | UFFD_FEATURE_EVENT_UNMAP | UFFD_FEATURE_MISSING_SHMEM;

// How far a copy came. The usual outcomes are values, not Errors, because they are met millions of times.
// `error` is 0 if all bytes were done, otherwise the errno that stopped it after `bytes`:
// EEXIST: the next page is there already. EAGAIN: an event waits to be read. ENOENT: the next page is in no mapping of this
// userfaultfd, or the range crosses from one mapping to another. ESRCH: the address space is gone. EFAULT: the source cannot be read.
struct [[nodiscard]] Progress {
  uint64_t bytes = 0;
  int error = 0;
};

// The one owner of a userfaultfd. All calls may be made from any thread at once.
class Userfault {
 public:
  Userfault() = default;
  explicit Userfault(UniqueFd fd) : fd_(std::move(fd)) {}

  // A userfaultfd for this process, O_CLOEXEC | O_NONBLOCK, with `features` enabled (all or EINVAL).
  static Result<Userfault> create(uint64_t features);

  int get() const { return fd_.get(); }
  explicit operator bool() const { return static_cast<bool>(fd_); }
  UniqueFd release() { return std::move(fd_); }

  // Faults on missing pages of the range come here from now on. Works only in the process that created it, or before it is shared.
  Result<void> register_range(Vaddr start, uint64_t length, uint64_t mode = UFFDIO_REGISTER_MODE_MISSING) const;

 private:
  UniqueFd fd_;
};

// The same descriptor, not owned: what a fault loop uses. Copyable; valid as long as the descriptor is open.
class UserfaultRef {
 public:
  explicit UserfaultRef(int fd) : fd_(fd) {}
  int get() const { return fd_; }

  // Puts `length` bytes at `source` (in this process) into missing pages from `target` on, and wakes who waits for them.
  // May stop early without an error, where an area of the kernel ends.
  Progress copy(Vaddr target, const void* source, uint64_t length) const;
  // The same with zeros (no memory is spent on private ranges until they are written).
  Progress zeropage(Vaddr target, uint64_t length) const;
  // Touching the pages raises SIGBUS from now on (Linux 6.6; EINVAL before).
  Progress poison(Vaddr target, uint64_t length) const;
  // Lets all threads that wait in the range try again.
  void wake(Vaddr start, uint64_t length) const;
  // The same for the whole address space.
  void wake_all() const;
  // Faults on the range are the kernel's own affair again, and who waits there goes on.
  Result<void> unregister_range(Vaddr start, uint64_t length) const;
  // Whether the address space still exists.
  bool alive() const;

  // Takes waiting messages, as many as fit; 0 if there are none. Reading an event lets the process that caused it go on.
  // Errors: EMFILE or ENOMEM if the descriptor of a forked child could not be made (the event stays queued).
  Result<size_t> read(std::span<uffd_msg> messages) const;

 private:
  int fd_;
};

}  // namespace faultline::uffd
