#include "lazy/daemon.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <map>

#include "core/base/log.h"
#include "lazy/guard.h"

namespace faultline::lazy {

namespace {

constexpr uint32_t kRestoreFinished = 0x52535446;

// A socket's address has no room for long paths, so that it is named relative to the open directory.
sockaddr_un address_in(int dir) {
  sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = {}};
  const std::string path = fmt::format("/proc/self/fd/{}/{}", dir, kDaemonSocket);
  std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
  return address;
}

Result<void> send_all(int socket, const void* bytes, size_t size) {
  const ssize_t n = ::send(socket, bytes, size, MSG_NOSIGNAL);
  if (n != static_cast<ssize_t>(size)) return sys_error("lazy-pages daemon: it does not take what restore sends");
  return {};
}

Result<void> send_number(int socket, uint32_t number) { return send_all(socket, &number, sizeof number); }

// The next number; the end of the connection is an error.
Result<uint32_t> receive_number(int socket) {
  uint32_t number;
  const ssize_t n = ::recv(socket, &number, sizeof number, MSG_WAITALL);
  if (n < 0) return sys_error("lazy-pages: cannot read from restore");
  if (n != sizeof number) return error(EPROTO, "lazy-pages: restore broke off the connection before it was finished");
  return number;
}

Result<UniqueFd> receive_fd(int socket) {
  char byte;
  iovec iov = {.iov_base = &byte, .iov_len = 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
  msghdr message = {};
  message.msg_iov = &iov;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  const ssize_t n = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  if (n < 0) return sys_error("lazy-pages: cannot receive a userfaultfd from restore");
  const cmsghdr* const header = CMSG_FIRSTHDR(&message);
  if (n != 1 || header == nullptr || header->cmsg_type != SCM_RIGHTS || header->cmsg_len != CMSG_LEN(sizeof(int)))
    return error(EPROTO, "lazy-pages: restore sent no userfaultfd where one was expected");
  int fd;
  std::memcpy(&fd, CMSG_DATA(header), sizeof fd);
  return UniqueFd(fd);
}

struct LazyTask {
  std::vector<Area> areas;
};

// What restore may leave to us: private anonymous memory.
LazyTask lazy_task(const image::Task& task, uint32_t index) {
  LazyTask lazy;
  for (const image::VmaEntry& vma : task.mm->vmas) {
    const bool anonymous = (vma.status & image::kVmaAnonPrivate) != 0 && (vma.flags & MAP_ANONYMOUS) != 0;
    constexpr uint32_t kSpecial = image::kVmaVdso | image::kVmaVvar | image::kVmaVsyscall | image::kVmaAioRing | image::kVmaGuard;
    if (anonymous && (vma.status & kSpecial) == 0)
      lazy.areas.push_back({.start = vma.start, .length = vma.end - vma.start, .index = index, .origin = vma.start});
  }
  return lazy;
}

Result<void> take_processes(int socket, const std::map<pid_t, LazyTask>& tasks, SpaceTable& table, FaultLoop& loop) {
  for (;;) {
    const uint32_t number = TRY(receive_number(socket));
    if (number == kRestoreFinished) return {};
    const auto pid = static_cast<pid_t>(number);
    if (pid < 0) continue;  // a zombie
    const auto task = tasks.find(pid);
    UniqueFd uffd = TRY(receive_fd(socket));
    if (task == tasks.end()) return error(EPROTO, "lazy-pages: restore sent process {}, which is not in the images", pid);
    if ((::fcntl(uffd.get(), F_GETFL) & O_NONBLOCK) == 0 && ::fcntl(uffd.get(), F_SETFL, O_NONBLOCK) != 0)
      return sys_error("lazy-pages: process {}: cannot use its userfaultfd", pid);
    // The pid is that of the images; which process has it here is not known, so that it is never killed by number.
    TRY(table.add(0, std::move(uffd), task->second.areas));
    loop.spaces_changed();
  }
}

Result<UniqueFd> accept_restore(const DaemonOptions& options) {
  UniqueFd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!listener) return sys_error("lazy-pages: cannot create a socket");
  if (::unlinkat(options.work_dir, kDaemonSocket, 0) != 0 && errno != ENOENT) return sys_error("lazy-pages: cannot remove the old {}", kDaemonSocket);
  const sockaddr_un address = address_in(options.work_dir);
  if (::bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return sys_error("lazy-pages: cannot create {} in the work directory", kDaemonSocket);
  if (::listen(listener.get(), 10) != 0) return sys_error("lazy-pages: cannot listen on {}", kDaemonSocket);
  if (options.ready) TRY(options.ready());
  for (;;) {
    UniqueFd connection(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (connection) {
      (void)::unlinkat(options.work_dir, kDaemonSocket, 0);
      return connection;
    }
    if (errno != EINTR) return sys_error("lazy-pages: cannot accept the connection of restore");
  }
}

}  // namespace

Result<std::optional<DaemonConnection>> DaemonConnection::open(int work_dir, int lowest_fd) {
  const UniqueFd low(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  UniqueFd socket(low ? ::fcntl(low.get(), F_DUPFD_CLOEXEC, lowest_fd) : -1);
  if (!socket) return sys_error("cannot create a socket");
  const sockaddr_un address = address_in(work_dir);
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0)
    return std::optional<DaemonConnection>(DaemonConnection(std::move(socket)));
  if (errno == ENOENT || errno == ECONNREFUSED) return std::optional<DaemonConnection>();
  return sys_error("cannot connect to the lazy-pages daemon ({} in the work directory)", kDaemonSocket);
}

Result<void> DaemonConnection::send(pid_t pid, int uffd) {
  TRY(send_number(socket_.get(), static_cast<uint32_t>(pid)));
  char byte = 0;
  iovec iov = {.iov_base = &byte, .iov_len = 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message = {};
  message.msg_iov = &iov;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  cmsghdr* const header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  std::memcpy(CMSG_DATA(header), &uffd, sizeof uffd);
  if (::sendmsg(socket_.get(), &message, MSG_NOSIGNAL) != 1)
    return sys_error("lazy-pages daemon: it does not take the userfaultfd of process {}", pid);
  return {};
}

Result<void> DaemonConnection::send_zombie(pid_t pid) { return send_number(socket_.get(), static_cast<uint32_t>(-pid)); }

Result<void> DaemonConnection::finish() { return send_number(socket_.get(), kRestoreFinished); }

Result<void> run_daemon(const image::ImageDir& dir, const image::Checkpoint& checkpoint, const DaemonOptions& options) {
  Pager pager;
  if (options.remote) {
    TRY(options.remote->connect_first());
    // Before a restore can reach us: it does not wait for us before its processes run.
    TRY(options.remote->commit());
    pager.set_remote(*options.remote);
  }
  std::map<pid_t, LazyTask> tasks;
  for (const image::Task& task : checkpoint.tasks) {
    if (task.dead() || !task.mm) continue;
    const uint32_t index = TRY(pager.add_task_memory(dir, task.tree.pid));
    tasks[task.pid()] = lazy_task(task, index);
  }
  SpaceTable* const table = TRY(pager.table());
  const UniqueFd connection = TRY(accept_restore(options));
  GuardOptions guard;
  guard.loop.prefetch = options.pager.prefetch;
  guard.keep_fds = options.pager.keep_fds;
  guard.watch = options.pager.watch;
  guard.keep_fds.push_back(connection.get());
  for (const PagesFile& file : pager.memory().files) guard.keep_fds.push_back(file.fd());
  guard.feed = [&](FaultLoop& loop) { return take_processes(connection.get(), tasks, *table, loop); };
  const pid_t pid = TRY(start_guard(pager.memory(), *table, guard));
  if (options.remote) options.remote->hand_over();
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (status != 0) return error(EIO, "lazy-pages: the pager ended before all memory was in place; the log says why");
  return {};
}

}  // namespace faultline::lazy
