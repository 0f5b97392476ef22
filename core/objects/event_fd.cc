// eventfd(2): a 64-bit counter.
// Collected from fdinfo ("eventfd-count", hex); recreated empty and written, because eventfd2() takes only 32 bits.
// The format has no place for EFD_SEMAPHORE. An eventfd is always O_RDWR, so bit 0 of its flags (O_WRONLY) is free, and ignored by
// other readers, who set only what F_SETFL can set: it says that the counter is a semaphore.
#include <sys/eventfd.h>
#include <unistd.h>

#include <charconv>

#include "core/objects/file_kind.h"

namespace faultline::objects {

namespace {

constexpr uint64_t kMaxCounter = ~uint64_t{0} - 1;

class EventFd final : public FileKind {
 public:
  image::FdTypes type() const override { return image::FdTypes::EVENTFD; }

  bool recognises(const FdView& fd) const override { return fd.link == "anon_inode:[eventfd]"; }

  Result<void> collect(const FdView& fd, Collected&, image::FileEntry& entry) const override {
    const auto count = fd.line("eventfd-count");
    if (!count) return fd.refuse("fdinfo does not tell its counter");
    const size_t digits = std::min(count->find_first_not_of(' '), count->size());
    uint64_t counter = 0;
    std::from_chars(count->data() + digits, count->data() + count->size(), counter, 16);
    // Linux before 6.5 does not tell; such a kernel's semaphores cannot be told from counters.
    const bool semaphore = fd.line("eventfd-semaphore").value_or("0") == "1";
    entry.efd = image::EventfdFileEntry{.id = entry.id, .flags = fd.flags | (semaphore ? EFD_SEMAPHORE : 0), .fown = TRY(owner_of(fd)), .counter = counter};
    return {};
  }

  Result<void> check(const image::FileEntry& entry, const Rebuild&) const override {
    if (!entry.efd || entry.efd->counter > kMaxCounter) return error(EBADMSG, "files.img has no valid part for this eventfd");
    return {};
  }

  Result<UniqueFd> recreate(const image::FileEntry& entry, Rebuild&) const override {
    UniqueFd fd(::eventfd(0, EFD_CLOEXEC | ((entry.efd->flags & O_ACCMODE) == (O_RDWR | EFD_SEMAPHORE) ? EFD_SEMAPHORE : 0)));
    if (!fd) return sys_error("eventfd cannot be made");
    if (entry.efd->counter) TRY(write_all(fd.get(), &entry.efd->counter, sizeof entry.efd->counter, "eventfd"));
    TRY(set_status_flags(fd.get(), entry.efd->flags, "eventfd"));
    return fd;
  }
};

const EventFd kEventFd;

}  // namespace

extern const FileKind& event_fd_kind;
const FileKind& event_fd_kind = kEventFd;

}  // namespace faultline::objects
