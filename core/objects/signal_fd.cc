// signalfd(2): a set of signals; which process they are read from is decided by who reads.
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <charconv>

#include "core/objects/file_kind.h"

namespace faultline::objects {

namespace {

class SignalFd final : public FileKind {
 public:
  image::FdTypes type() const override { return image::FdTypes::SIGNALFD; }

  bool recognises(const FdView& fd) const override { return fd.link == "anon_inode:[signalfd]"; }

  Result<void> collect(const FdView& fd, Collected&, image::FileEntry& entry) const override {
    const auto mask = fd.line("sigmask");
    if (!mask) return fd.refuse("fdinfo does not tell its signals");
    uint64_t bits = 0;
    std::from_chars(mask->data(), mask->data() + mask->size(), bits, 16);
    entry.sgfd = image::SignalfdEntry{.id = entry.id, .flags = fd.flags, .fown = TRY(owner_of(fd)), .sigmask = bits};
    return {};
  }

  Result<void> check(const image::FileEntry& entry, const Rebuild&) const override {
    if (!entry.sgfd) return error(EBADMSG, "files.img has no part for this signalfd");
    return {};
  }

  Result<UniqueFd> recreate(const image::FileEntry& entry, Rebuild&) const override {
    const uint64_t mask = entry.sgfd->sigmask;  // as the kernel counts: bit n - 1 is signal n. glibc's sigset_t is longer
    UniqueFd fd(static_cast<int>(::syscall(SYS_signalfd4, -1, &mask, sizeof mask, SFD_CLOEXEC)));
    if (!fd) return sys_error("signalfd cannot be made");
    TRY(set_status_flags(fd.get(), entry.sgfd->flags, "signalfd"));
    return fd;
  }
};

const SignalFd kSignalFd;

}  // namespace

extern const FileKind& signal_fd_kind;
const FileKind& signal_fd_kind = kSignalFd;

}  // namespace faultline::objects
