#include "browse/fuse/watcher.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

namespace faultline::browse {

namespace {

constexpr int kServerFd = 3;

void take_away(const char* mountpoint) {
  // Attributes may be remembered by the kernel; the file system's own are asked for each time.
  struct statfs st;
  if (::statfs(mountpoint, &st) == 0 || errno != ENOTCONN) return;
  if (::umount2(mountpoint, MNT_DETACH | UMOUNT_NOFOLLOW) == 0 || errno != EPERM) return;
  char program[] = "fusermount3", options[] = "-uzq";
  char* const words[] = {program, options, const_cast<char*>(mountpoint), nullptr};
  ::execvp(program, words);
}

// The child's part. Other threads may have held any lock when it was forked: only system calls from here on.
[[noreturn]] void watch(int server, const char* mountpoint) {
  sigset_t all;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, nullptr);  // it ends when the server does
  ::setsid();
  ::prctl(PR_SET_NAME, "faultline-watch");
  // What the server has open, its connection to the kernel first of all, must not live on here.
  ::dup2(server, kServerFd);
  ::close_range(0, kServerFd - 1, 0);
  ::close_range(kServerFd + 1, ~0U, 0);
  if (::chdir("/") != 0) ::_exit(1);
  pollfd wait = {kServerFd, POLLIN, 0};
  while (::poll(&wait, 1, -1) < 0 && errno == EINTR) {}
  take_away(mountpoint);
  ::_exit(0);
}

UniqueFd pidfd_of(pid_t pid) { return UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))); }

}  // namespace

Result<Watcher> Watcher::start(const std::string& mountpoint) {
  const UniqueFd self = pidfd_of(::getpid());
  if (!self) return sys_error("cannot watch over the mount: pidfd_open");
  const pid_t pid = ::fork();
  if (pid < 0) return sys_error("cannot watch over the mount: fork");
  if (pid == 0) watch(self.get(), mountpoint.c_str());
  UniqueFd process = pidfd_of(pid);
  if (!process) return sys_error("cannot watch over the mount: pidfd_open");
  return Watcher(pid, std::move(process));
}

Watcher::~Watcher() {
  if (!process_) return;  // moved from
  ::kill(pid_, SIGKILL);
  int status;
  while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {}
}

}  // namespace faultline::browse
