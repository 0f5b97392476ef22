#include "core/objects/file_kind.h"

#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <charconv>

#include "core/sys/proc.h"

namespace faultline::objects {

namespace {

constexpr uint32_t kOpenTmpFile = 020000000;
// fcntl: real and effective uid of the one who set the owner.
#ifndef F_GETOWNER_UIDS
#define F_GETOWNER_UIDS 17
#endif

}  // namespace

Result<FdView> FdView::take(pid_t pid, pid_t tid, int pidfd, int number) {
  FdView fd;
  fd.pid = pid;
  fd.tid = tid;
  fd.number = number;
  fd.link = TRY(sys::read_link(fmt::format("/proc/{}/fd/{}", tid, number)));
  fd.copy.reset(static_cast<int>(::syscall(SYS_pidfd_getfd, pidfd, number, 0)));
  if (!fd.copy) return sys_error("{} cannot be copied from the process", fd.name());
  if (::fstat(fd.copy.get(), &fd.st) < 0) return sys_error("{}", fd.name());
  fd.fdinfo = TRY(sys::read_proc(fmt::format("/proc/{}/fdinfo/{}", tid, number)));
  const auto pos = fd.line("pos"), flags = fd.line("flags");
  if (!pos || !flags) return error(EPROTO, "{}: fdinfo does not tell position and flags", fd.name());
  std::from_chars(pos->data(), pos->data() + pos->size(), fd.pos);
  std::from_chars(flags->data(), flags->data() + flags->size(), fd.flags, 8);
  fd.cloexec = fd.flags & O_CLOEXEC;
  fd.flags &= ~static_cast<uint32_t>(O_CLOEXEC);
  return fd;
}

std::string FdView::name() const { return fmt::format("pid {}: descriptor {} ({})", pid, number, link); }

Failure FdView::refuse(std::string_view why) const { return error(ENOTSUP, "{} cannot be checkpointed: {}", name(), why); }

std::optional<std::string> FdView::line(std::string_view name) const {
  for (size_t at = 0; at < fdinfo.size();) {
    const size_t end = std::min(fdinfo.find('\n', at), fdinfo.size());
    std::string_view line(fdinfo.data() + at, end - at);
    at = end + 1;
    if (!line.starts_with(name) || line.substr(name.size(), 1) != ":") continue;
    line.remove_prefix(name.size() + 1);
    line.remove_prefix(std::min(line.find_first_not_of(" \t"), line.size()));
    return std::string(line);
  }
  return std::nullopt;
}

void Collected::add(image::FileEntry entry) {
  place[entry.id] = files.size();
  files.push_back(std::move(entry));
}

const image::FileEntry* Collected::file(uint32_t id) const {
  const auto at = place.find(id);
  return at == place.end() ? nullptr : &files[at->second];
}

Result<UniqueFd> Rebuild::out_of_the_way(UniqueFd fd, std::string_view what) const {
  if (fd.get() >= first_fd) return fd;
  UniqueFd moved(::fcntl(fd.get(), F_DUPFD_CLOEXEC, first_fd));
  if (!moved)
    return sys_error("{}: no descriptor number from {} on is free for it (limit of open files: ulimit -n)", what, first_fd);
  return moved;
}

std::optional<uint32_t> Rebuild::number_of(const image::Task& task, uint32_t file_id) {
  for (const image::FdinfoEntry& fd : task.fds)
    if (fd.id == file_id) return fd.fd;
  return std::nullopt;
}

const image::Task* Rebuild::first_holder(uint32_t file_id) const {
  for (const image::Task& task : checkpoint.tasks)
    if (number_of(task, file_id)) return &task;
  return nullptr;
}

Result<image::FownEntry> owner_of(const FdView& fd) {
  image::FownEntry owner;
  if (fd.only_path()) return owner;
  f_owner_ex ex = {};
  if (::fcntl(fd.copy.get(), F_GETOWN_EX, &ex) < 0) return sys_error("{}: its signal owner cannot be asked", fd.name());
  if (ex.pid == 0) return owner;
  uid_t uids[2] = {};
  if (::fcntl(fd.copy.get(), F_GETOWNER_UIDS, uids) < 0) return sys_error("{}: its signal owner cannot be asked", fd.name());
  owner.uid = uids[0];
  owner.euid = uids[1];
  owner.signum = static_cast<uint32_t>(std::max(0, ::fcntl(fd.copy.get(), F_GETSIG)));
  owner.pid_type = static_cast<uint32_t>(ex.type);
  owner.pid = static_cast<uint32_t>(ex.pid);
  return owner;
}

const image::FownEntry* owner_of(const image::FileEntry& e) {
  if (e.reg) return &e.reg->fown;
  if (e.pipe) return &e.pipe->fown;
  if (e.isk) return &e.isk->fown;
  if (e.usk) return &e.usk->fown;
  if (e.efd) return &e.efd->fown;
  if (e.epfd) return &e.epfd->fown;
  if (e.sgfd) return &e.sgfd->fown;
  if (e.tfd) return &e.tfd->fown;
  if (e.ify) return &e.ify->fown;
  if (e.tty) return &e.tty->fown;
  if (e.memfd) return &e.memfd->fown;
  return nullptr;
}

uint32_t flags_of(const image::FileEntry& e) {
  if (e.reg) return e.reg->flags;
  if (e.pipe) return e.pipe->flags;
  if (e.isk) return e.isk->flags;
  if (e.usk) return e.usk->flags;
  if (e.efd) return e.efd->flags;
  if (e.epfd) return e.epfd->flags;
  if (e.sgfd) return e.sgfd->flags;
  if (e.tfd) return e.tfd->flags;
  if (e.ify) return e.ify->flags;
  if (e.tty) return e.tty->flags;
  if (e.memfd) return e.memfd->flags;
  return 0;
}

std::optional<uint64_t> inode_of(const image::FileEntry& e) {
  if (e.pipe) return e.pipe->pipe_id;
  if (e.fifo) return e.fifo->pipe_id;
  if (e.isk) return e.isk->ino;
  if (e.usk) return e.usk->ino;
  return std::nullopt;
}

Result<void> set_status_flags(int fd, uint32_t flags, std::string_view what) {
  const int wanted = static_cast<int>(flags) & (O_APPEND | O_NONBLOCK | O_DIRECT | O_NOATIME);
  const int now = ::fcntl(fd, F_GETFL);
  if (now < 0) return sys_error("{}", what);
  if ((now & (O_APPEND | O_NONBLOCK | O_DIRECT | O_NOATIME)) == wanted) return {};
  if (::fcntl(fd, F_SETFL, wanted) < 0) return sys_error("{}: its flags {:#o} cannot be set", what, flags);
  return {};
}

uint32_t open_flags(uint32_t recorded) {
  uint32_t flags = recorded & ~static_cast<uint32_t>(O_CREAT | O_EXCL | O_TRUNC | O_ASYNC);
  // A file that never had a name is opened by the name that it is given for the purpose.
  if (flags & kOpenTmpFile) flags &= ~(kOpenTmpFile | static_cast<uint32_t>(O_DIRECTORY));
  return flags | O_NOCTTY | O_CLOEXEC;
}

Result<UniqueFd> reopen(int fd, uint32_t flags, std::string_view what) {
  UniqueFd again(::open(fmt::format("/proc/self/fd/{}", fd).c_str(), static_cast<int>(open_flags(flags) & ~static_cast<uint32_t>(O_NOFOLLOW))));
  if (!again) return sys_error("{} cannot be opened once more", what);
  return again;
}

}  // namespace faultline::objects
