#include <fcntl.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <linux/sockios.h>
#include <linux/un.h>
#include <sched.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <fstream>
#include <sstream>

#include "core/base/unique_fd.h"
#include "core/cli/probes/child.h"
#include "core/cli/probes/probes.h"

// <sys/mount.h> and <linux/mount.h> cannot stand in one file with this libc.
extern "C" int mount(const char*, const char*, const char*, unsigned long, const void*) noexcept;

namespace faultline::cli::probe {

namespace {

std::string whole_file(const std::string& path) {
  std::ifstream in(path);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

Result<void> fdinfo_has(int fd, const char* field) {
  if (whole_file(fmt::format("/proc/self/fdinfo/{}", fd)).find(field) != std::string::npos) return {};
  return error(ENOTSUP, "/proc/PID/fdinfo has no \"{}\"", field);
}

// Inside a mount namespace of its own.
Result<void> mount_autofs() {
  if (mount("faultline", "/tmp", "tmpfs", 0, nullptr) < 0) return sys_error("cannot mount a tmpfs to try it on");
  if (mkdir("/tmp/autofs", 0700) < 0) return sys_error("cannot make a directory");
  int fds[2];
  if (pipe2(fds, O_CLOEXEC) < 0) return sys_error("cannot make a pipe");
  UniqueFd read_end(fds[0]), write_end(fds[1]);
  const std::string options = fmt::format("fd={},pgrp={},minproto=5,maxproto=5,direct", write_end.get(), getpgrp());
  if (mount("faultline", "/tmp/autofs", "autofs", 0, options.c_str()) < 0) return sys_error("cannot mount an autofs");
  if (whole_file("/proc/self/mountinfo").find("pipe_ino=") != std::string::npos) return {};
  return error(ENOTSUP, "/proc/PID/mountinfo does not name the pipe of an autofs");
}

}  // namespace

Result<void> mnt_id() { return fdinfo_has(STDERR_FILENO, "mnt_id:"); }

Result<void> fdinfo_lock() {
  UniqueFd fd(memfd_create("faultline-check", MFD_CLOEXEC));
  if (!fd || flock(fd.get(), LOCK_EX) < 0) return sys_error("cannot lock a memfd");
  return fdinfo_has(fd.get(), "lock:");
}

Result<void> timerfd() {
  UniqueFd fd(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
  if (!fd) return sys_error("timerfd_create(2)");
  TRY(fdinfo_has(fd.get(), "clockid:"));
  // TFD_IOC_SET_TICKS: not in every libc's header.
  const uint64_t ticks = 3;
  if (ioctl(fd.get(), _IOW('T', 0, uint64_t), &ticks) < 0) return sys_error("setting the expirations of a timerfd (TFD_IOC_SET_TICKS)");
  uint64_t got = 0;
  if (::read(fd.get(), &got, sizeof got) != sizeof got || got != ticks) return error(EIO, "a timerfd does not tell the expirations it was given");
  return {};
}

Result<void> autofs() { return in_child(CLONE_NEWNS, mount_autofs); }

Result<void> openat2() {
  open_how how = {};
  how.flags = O_PATH | O_CLOEXEC;
  how.resolve = RESOLVE_NO_MAGICLINKS;
  if (!UniqueFd(static_cast<int>(syscall(SYS_openat2, AT_FDCWD, "/", &how, sizeof how)))) return sys_error("openat2(2)");
  return {};
}

Result<void> move_mount_set_group() {
  // Flags are looked at before descriptors: a kernel that knows this one complains about the descriptor.
  syscall(SYS_move_mount, -1, "", -1, "", MOVE_MOUNT_SET_GROUP);
  if (errno == EINVAL || errno == ENOSYS || errno == EPERM) return sys_error("move_mount(2) with MOVE_MOUNT_SET_GROUP");
  return {};
}

Result<void> sk_unix_file() {
  return in_child(CLONE_NEWNS, []() -> Result<void> {
    if (mount("faultline", "/tmp", "tmpfs", 0, nullptr) < 0) return sys_error("cannot mount a tmpfs to try it on");
    UniqueFd sk(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address = {AF_UNIX, "/tmp/socket"};
    if (!sk || bind(sk.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) < 0) return sys_error("cannot bind a unix socket");
    if (!UniqueFd(ioctl(sk.get(), SIOCUNIXFILE))) return sys_error("asking for the file of a unix socket (SIOCUNIXFILE)");
    return {};
  });
}

}  // namespace faultline::cli::probe
