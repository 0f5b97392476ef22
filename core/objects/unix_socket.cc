// Unix sockets, dump side and checks: pairs, listeners, names in the file system and abstract ones, what is queued.
// How they are made again, all together because they refer to each other: unix_rebuild.cc.
#include "core/objects/unix_socket.h"

#include <linux/sockios.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/un.h>

#include <algorithm>

#ifndef SIOCUNIXFILE
#define SIOCUNIXFILE (SIOCPROTOPRIVATE + 0)
#endif

#include "core/sys/proc.h"

namespace faultline::objects {

namespace {

constexpr size_t kLargestPacket = 4 << 20;

// While it lives, reading with MSG_PEEK goes on where the last one ended. The offset belongs to the program's socket, so it is put back.
class PeekOffset {
 public:
  static Result<PeekOffset> set(const FdView& fd) {
    const int before = socket_option(fd.copy.get(), SOL_SOCKET, SO_PEEK_OFF);
    TRY(set_socket_option(fd.copy.get(), SOL_SOCKET, SO_PEEK_OFF, 0, "SO_PEEK_OFF"));
    return PeekOffset(fd.copy.get(), before);
  }
  PeekOffset(PeekOffset&& other) noexcept : fd_(std::exchange(other.fd_, -1)), before_(other.before_) {}
  ~PeekOffset() {
    if (fd_ >= 0) ::setsockopt(fd_, SOL_SOCKET, SO_PEEK_OFF, &before_, sizeof before_);
  }

 private:
  PeekOffset(int fd, int before) : fd_(fd), before_(before) {}
  int fd_;
  int before_;
};

// Peeking at passed descriptors gives us copies: they are closed.
bool close_passed(msghdr& message) {
  bool any = false;
  for (cmsghdr* c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    any = true;
    const int* fds = reinterpret_cast<const int*>(CMSG_DATA(c));
    for (size_t i = 0; i < (c->cmsg_len - CMSG_LEN(0)) / sizeof(int); ++i) UniqueFd{fds[i]};
  }
  return any;
}

Result<void> peek_queue(const FdView& fd, const image::UnixSkEntry& sk, Collected& collected) {
  pollfd p = {.fd = fd.copy.get(), .events = POLLIN, .revents = 0};
  if (::poll(&p, 1, 0) < 0) return sys_error("{}", fd.name());
  if (!(p.revents & POLLIN)) return {};
  const PeekOffset offset = TRY(PeekOffset::set(fd));
  std::string buffer(kLargestPacket, '\0');
  alignas(cmsghdr) char control[4096];
  for (;;) {
    iovec vec = {buffer.data(), buffer.size()};
    msghdr message = {.msg_name = nullptr, .msg_namelen = 0, .msg_iov = &vec, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control,
                      .msg_flags = 0};
    const ssize_t n = ::recvmsg(fd.copy.get(), &message, MSG_PEEK | MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n < 0 && errno == EAGAIN) return {};
    if (n < 0 && errno == ECONNRESET) return {};  // the other end was closed with unread data: there is nothing more
    if (n < 0) return sys_error("{}: what is queued cannot be looked at", fd.name());
    if (close_passed(message)) return fd.refuse("descriptors that were passed through it have not been received yet, which is not supported");
    if (message.msg_flags & MSG_TRUNC) return fd.refuse(fmt::format("a packet of more than {} bytes is queued", kLargestPacket));
    if (n == 0 && sk.type == SOCK_DGRAM) return fd.refuse("an empty datagram is queued, which the image format cannot hold; try again");
    if (n == 0) return {};
    image::SocketPacket packet;
    packet.entry.id_for = sk.id;
    packet.entry.length = static_cast<uint32_t>(n);
    packet.bytes.assign(buffer, 0, static_cast<size_t>(n));
    collected.packets.push_back(std::move(packet));
  }
}

Result<const UnixDiag*> diag_of(const FdView& fd, Collected& collected) {
  if (!std::exchange(collected.unix_listed, true)) collected.unix_sockets = TRY(list_unix_sockets());
  const auto at = collected.unix_sockets.find(static_cast<uint32_t>(fd.st.st_ino));
  if (at == collected.unix_sockets.end()) return fd.refuse("the kernel does not list it in our network namespace");
  return &at->second;
}

// The listener that a connected socket waits for.
uint32_t waits_for(uint32_t ino, const Collected& collected) {
  for (const auto& [listener, diag] : collected.unix_sockets)
    if (std::find(diag.waiting.begin(), diag.waiting.end(), ino) != diag.waiting.end()) return listener;
  return 0;
}

// The socket file itself. Errors: EPERM without CAP_NET_ADMIN.
Result<UniqueFd> socket_file(const FdView& fd) {
  UniqueFd file(::ioctl(fd.copy.get(), SIOCUNIXFILE));
  if (!file) return sys_error("{}: its socket file cannot be asked for (SIOCUNIXFILE; CAP_NET_ADMIN is needed)", fd.name());
  return file;
}

// Where a name in the file system lives, and whether it is still there.
Result<void> collect_file(const FdView& fd, image::UnixSkEntry& sk) {
  if (!has_path(sk.name)) return {};
  const UniqueFd file = TRY(socket_file(fd));
  std::string path = TRY(sys::read_link(fmt::format("/proc/self/fd/{}", file.get())));
  struct stat st, now;
  if (::fstat(file.get(), &st) < 0) return sys_error("{}", fd.name());
  const bool there = ::lstat(path.c_str(), &now) == 0 && now.st_ino == st.st_ino && now.st_dev == st.st_dev;
  if (there) sk.file_perms = image::FilePermsEntry{.mode = st.st_mode, .uid = st.st_uid, .gid = st.st_gid};
  else sk.deleted = true;
  if (sk.name[0] == '/') return {};
  constexpr std::string_view kDeleted = " (deleted)";
  if (!there && path.ends_with(kDeleted)) path.resize(path.size() - kDeleted.size());
  std::string name = sk.name.c_str();
  if (name.starts_with("./")) name.erase(0, 2);
  if (!path.ends_with("/" + name))
    return fd.refuse(fmt::format("it was bound to the relative path {}, which became {} (renamed?)", sk.name.c_str(), path));
  sk.name_dir = path.substr(0, std::max<size_t>(1, path.size() - name.size() - 1));
  return {};
}

class UnixSocket final : public FileKind {
 public:
  image::FdTypes type() const override { return image::FdTypes::UNIXSK; }

  bool recognises(const FdView& fd) const override {
    return S_ISSOCK(fd.st.st_mode) && !fd.only_path() && socket_option(fd.copy.get(), SOL_SOCKET, SO_DOMAIN) == AF_UNIX;
  }

  Result<void> collect(const FdView& fd, Collected& collected, image::FileEntry& entry) const override {
    const UnixDiag& diag = *TRY(diag_of(fd, collected));
    image::UnixSkEntry sk;
    sk.id = entry.id;
    sk.ino = static_cast<uint32_t>(fd.st.st_ino);
    sk.type = static_cast<uint32_t>(socket_option(fd.copy.get(), SOL_SOCKET, SO_TYPE));
    sk.state = diag.state;
    sk.flags = fd.flags;
    sk.backlog = diag.state == kSocketListen ? diag.backlog : 0;
    sk.peer = diag.peer;
    sk.fown = TRY(owner_of(fd));
    sk.opts = TRY(collect_socket_options(fd, true));
    sk.name = diag.name;
    sk.ns_id = kNetNs;
    if (diag.shutdown) sk.shutdown = static_cast<image::SkShutdown>(diag.shutdown & 3);
    TRY(collect_file(fd, sk));
    if (sk.state == kSocketEstablished && sk.type != SOCK_DGRAM && sk.peer == 0) TRY(collect_waiting(fd, collected, sk));
    if (sk.state != kSocketListen) TRY(peek_queue(fd, sk, collected));
    entry.usk = std::move(sk);
    return {};
  }

  Result<void> complete(Collected& collected) const override {
    std::set<uint32_t> inside;
    for (const image::FileEntry& entry : collected.files)
      if (entry.usk) inside.insert(entry.usk->ino);
    for (const image::FileEntry& entry : collected.files) {
      if (!entry.usk) continue;
      const auto& holder = collected.holders.at(entry.id).front();
      const auto refuse = [&](std::string_view why) {
        return error(ENOTSUP, "pid {}: descriptor {} (unix socket {}) cannot be checkpointed: {}", holder.pid, holder.number, entry.usk->ino, why);
      };
      if (entry.usk->peer && !inside.contains(entry.usk->peer))
        return refuse("it is connected with a process outside the tree; checkpoint from a common ancestor, or let the program close it");
      for (uint32_t client : collected.unix_sockets[entry.usk->ino].waiting)
        if (!inside.contains(client)) return refuse("a process outside the tree has connected that the program has not accepted yet; try again");
    }
    return {};
  }

  Result<void> check(const image::FileEntry& entry, const Rebuild& rebuild) const override { return check_unix(entry, rebuild); }

  Result<UniqueFd> recreate(const image::FileEntry& entry, Rebuild& rebuild) const override {
    if (!rebuild.sockets.contains(entry.id)) TRY(make_unix_sockets(rebuild));
    return std::move(rebuild.sockets.at(entry.id));
  }

 private:
  // A client that is not accepted yet: what it has sent lies where nobody can look at it.
  static Result<void> collect_waiting(const FdView& fd, const Collected& collected, image::UnixSkEntry& sk) {
    sk.peer = waits_for(sk.ino, collected);
    int sent = 0;
    if (sk.peer && ::ioctl(fd.copy.get(), SIOCOUTQ, &sent) == 0 && sent > 0)
      return fd.refuse("it has sent data over a connection that is not accepted yet; try again");
    return {};
  }
};

const UnixSocket kUnixSocket;

}  // namespace

extern const FileKind& unix_socket_kind;
const FileKind& unix_socket_kind = kUnixSocket;

bool has_path(const std::string& name) { return !name.empty() && name[0] != '\0'; }

}  // namespace faultline::objects
