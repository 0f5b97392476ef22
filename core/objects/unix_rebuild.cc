// Unix sockets, restore side. They refer to each other, so that all are made in one go, in this order:
//  1. listeners and sockets without a peer, bound to their names
//  2. connected pairs; where an end has the name of a listener (accept(2) gives it that), through a listener of this name
//  3. what was queued, sent by the other end
//  4. connections of one direction (datagrams), and those that wait to be accepted
//  5. directions that were shut, names that were removed, permissions, options
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "core/base/log.h"
#include "core/objects/unix_socket.h"

namespace faultline::objects {

namespace {

using Entry = image::UnixSkEntry;

std::string label(const Entry& sk) {
  std::string name = sk.name;
  if (!name.empty() && name[0] == '\0') name[0] = '@';
  return fmt::format("unix socket {}{}{}", sk.ino, name.empty() ? "" : " ", name.c_str());
}

std::string path_of(const Entry& sk) { return sk.name_dir ? *sk.name_dir + "/" + sk.name.c_str() : std::string(sk.name.c_str()); }

socklen_t address_of(const std::string& name, sockaddr_un& address) {
  address = {};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, name.data(), std::min(name.size(), sizeof address.sun_path));
  return static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
}

// bind(2) or connect(2) with the name as the program gave it: a relative one counts from the directory where it was bound.
Result<void> with_name(const Entry& sk, int fd, int (*call)(int, const sockaddr*, socklen_t), const char* what) {
  UniqueFd here;
  if (sk.name_dir) {
    here.reset(::open(".", O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!here || ::chdir(sk.name_dir->c_str()) < 0) return sys_error("{}: its directory {}", label(sk), *sk.name_dir);
  }
  sockaddr_un address;
  const socklen_t size = address_of(sk.name, address);
  const int result = call(fd, reinterpret_cast<const sockaddr*>(&address), size);
  const int code = errno;
  if (here && ::fchdir(here.get()) < 0) return sys_error("the working directory cannot be entered again");
  errno = code;
  if (result < 0) return sys_error("{} cannot be {}", label(sk), what);
  return {};
}

class Maker {
 public:
  explicit Maker(Rebuild& rebuild) : rebuild_(rebuild) {
    for (const auto& [id, entry] : rebuild.checkpoint.files)
      if (entry.usk) by_ino_[entry.usk->ino] = &*entry.usk;
    for (const image::SocketPacket& packet : rebuild.checkpoint.packets) queued_.insert(packet.entry.id_for);
  }

  Result<void> run() {
    for (const auto& [ino, sk] : by_ino_)
      if (sk->state == kSocketListen) TRY(listener(*sk));
    for (const auto& [ino, sk] : by_ino_)
      if (!made(*sk)) TRY(one(*sk));
    for (const image::SocketPacket& packet : rebuild_.checkpoint.packets) TRY(queue(packet));
    for (const auto& [ino, sk] : by_ino_)
      if (sk->peer && !mutual(*sk)) TRY(with_name(*by_ino_.at(sk->peer), fd(*sk), ::connect, "reached by a socket that was connected with it"));
    for (const auto& [ino, sk] : by_ino_) TRY(finish(*sk));
    far_ends_.clear();
    for (const auto& [path, aside] : aside_)
      if (::rename(aside.c_str(), path.c_str()) < 0) return sys_error("{} cannot get its name {} back", aside, path);
    return {};
  }

 private:
  bool made(const Entry& sk) const { return rebuild_.sockets.contains(sk.id); }
  int fd(const Entry& sk) const { return rebuild_.sockets.at(sk.id).get(); }

  const Entry* peer_of(const Entry& sk) const {
    const auto at = sk.peer ? by_ino_.find(sk.peer) : by_ino_.end();
    return at == by_ino_.end() ? nullptr : at->second;
  }
  // Both ends name each other. (The peer of a client that is not accepted yet is the listener.)
  bool mutual(const Entry& sk) const {
    const Entry* peer = peer_of(sk);
    return peer && peer->peer == sk.ino;
  }
  const Entry* listener_named(const std::string& name) const {
    for (const auto& [ino, sk] : by_ino_)
      if (sk->state == kSocketListen && sk->name == name) return sk;
    return nullptr;
  }

  Result<void> keep(const Entry& sk, UniqueFd fd) {
    UniqueFd moved = TRY(rebuild_.out_of_the_way(std::move(fd), label(sk)));
    TRY(options_before_bind(moved.get(), sk.opts, true));
    rebuild_.sockets[sk.id] = std::move(moved);
    return {};
  }

  static Result<UniqueFd> fresh(const Entry& sk) {
    UniqueFd fd(::socket(AF_UNIX, static_cast<int>(sk.type) | SOCK_CLOEXEC, 0));
    if (!fd) return sys_error("{} cannot be made", label(sk));
    return fd;
  }

  // A name in the file system may be left over from the program that was checkpointed. Another file under the name of a socket whose own
  // file was removed steps aside meanwhile.
  Result<void> bind(const Entry& sk, int s) {
    if (sk.name.empty()) return {};
    const std::string path = path_of(sk);
    struct stat st;
    if (has_path(sk.name) && ::lstat(path.c_str(), &st) == 0) {
      if (sk.deleted.value_or(false)) {
        const std::string aside = fmt::format("{}.cr.{}.aside", path, sk.ino);
        if (::rename(path.c_str(), aside.c_str()) < 0) return sys_error("{}: {} cannot be put aside", label(sk), path);
        aside_.emplace_back(path, aside);
      } else if (!S_ISSOCK(st.st_mode)) {
        return error(EEXIST, "{}: {} exists and is not a socket; remove it", label(sk), path);
      } else if (::unlink(path.c_str()) < 0) {
        return sys_error("{}: the old socket file {} cannot be removed", label(sk), path);
      }
    }
    TRY(with_name(sk, s, ::bind, "bound"));
    if (!has_path(sk.name)) return {};
    if (sk.deleted.value_or(false)) to_unlink_.insert(path);
    else if (sk.file_perms && (::chown(path.c_str(), sk.file_perms->uid, sk.file_perms->gid) < 0 || ::chmod(path.c_str(), sk.file_perms->mode & 07777) < 0))
      return sys_error("{}: owner and permissions cannot be set", label(sk));
    return {};
  }

  Result<void> listener(const Entry& sk) {
    UniqueFd s = TRY(fresh(sk));
    TRY(bind(sk, s.get()));
    if (::listen(s.get(), static_cast<int>(sk.backlog)) < 0) return sys_error("{} cannot listen", label(sk));
    return keep(sk, std::move(s));
  }

  Result<void> one(const Entry& sk) {
    const Entry* peer = mutual(sk) ? peer_of(sk) : nullptr;
    // The state of a datagram socket says nothing: it is "established" as soon as somebody else connects to it.
    const bool connected = peer || (sk.type != SOCK_DGRAM && sk.peer == 0 && sk.state == kSocketEstablished);
    // A datagram socket with neither name nor peer can only have got its packets through a pair.
    const bool orphan = sk.type == SOCK_DGRAM && sk.name.empty() && sk.peer == 0 && queued_.contains(sk.id);
    if (connected || orphan) return pair(sk, peer);
    UniqueFd s = TRY(fresh(sk));
    TRY(bind(sk, s.get()));
    return keep(sk, std::move(s));
  }

  // `peer` is nullptr if the other end is closed; it is made nevertheless, to fill the queue.
  Result<void> pair(const Entry& sk, const Entry* peer) {
    const bool dgram = sk.type == SOCK_DGRAM;
    const bool here = !dgram && !sk.name.empty(), there = !dgram && peer && !peer->name.empty();
    UniqueFd a, b;
    if (here && (!there || listener_named(sk.name))) std::tie(a, b) = TRY(accepted(sk, peer));
    else if (there) std::tie(b, a) = TRY(accepted(*peer, &sk));
    else {
      int fds[2];
      if (::socketpair(AF_UNIX, static_cast<int>(sk.type) | SOCK_CLOEXEC, 0, fds) < 0) return sys_error("{} cannot be made", label(sk));
      a.reset(fds[0]);
      b.reset(fds[1]);
      if (dgram) TRY(bind(sk, a.get()));
      if (dgram && peer) TRY(bind(*peer, b.get()));
    }
    TRY(keep(sk, std::move(a)));
    if (peer && peer != &sk) return keep(*peer, std::move(b));
    const int large = 4 << 20;
    ::setsockopt(b.get(), SOL_SOCKET, SO_SNDBUFFORCE, &large, sizeof large);
    far_ends_[sk.id] = std::move(b);
    return {};
  }

  // The end `server` gets its name by being accepted from a listener. Gives server and client.
  Result<std::pair<UniqueFd, UniqueFd>> accepted(const Entry& server, const Entry* client) {
    const Entry* known = listener_named(server.name);
    UniqueFd temporary;
    if (!known) {
      temporary = TRY(fresh(server));
      TRY(bind(server, temporary.get()));
      if (::listen(temporary.get(), 1) < 0) return sys_error("{} cannot listen", label(server));
      // The listener is gone from the original, too, but its file may be there still.
    }
    UniqueFd c = TRY(fresh(server));
    if (client && !client->name.empty()) TRY(bind(*client, c.get()));
    TRY(with_name(known ? *known : server, c.get(), ::connect, "reached by its client"));
    UniqueFd s(::accept4(known ? fd(*known) : temporary.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!s) return sys_error("{} cannot be accepted", label(server));
    return std::pair(std::move(s), std::move(c));
  }

  Result<void> queue(const image::SocketPacket& packet) {
    const image::FileEntry* file = rebuild_.checkpoint.file(packet.entry.id_for);
    const Entry& sk = *file->usk;
    UniqueFd temporary;
    int from = -1;
    if (mutual(sk)) from = fd(*peer_of(sk));
    else if (far_ends_.contains(sk.id)) from = far_ends_[sk.id].get();
    else {
      temporary = TRY(fresh(sk));
      from = temporary.get();
      TRY(with_name(sk, from, ::connect, "filled with what was queued"));
    }
    const ssize_t sent = ::send(from, packet.bytes.data(), packet.bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0) return sys_error("{}: {} queued bytes cannot be put back", label(sk), packet.bytes.size());
    if (static_cast<size_t>(sent) != packet.bytes.size())
      return error(ENOSPC, "{}: only {} of {} queued bytes fit", label(sk), sent, packet.bytes.size());
    return {};
  }

  Result<void> finish(const Entry& sk) {
    const int s = fd(sk);
    if (sk.shutdown && *sk.shutdown != image::SkShutdown::NONE) {
      const int how = *sk.shutdown == image::SkShutdown::READ ? SHUT_RD : *sk.shutdown == image::SkShutdown::WRITE ? SHUT_WR : SHUT_RDWR;
      if (::shutdown(s, how) < 0 && errno != ENOTCONN) return sys_error("{}: cannot be shut again", label(sk));
    }
    if (sk.deleted.value_or(false) && to_unlink_.erase(path_of(sk)) && ::unlink(path_of(sk).c_str()) < 0 && errno != ENOENT)
      return sys_error("{}: its name cannot be removed", label(sk));
    TRY(options_at_the_end(s, sk.opts, true));
    return set_status_flags(s, sk.flags, label(sk));
  }

  Rebuild& rebuild_;
  std::map<uint32_t, const Entry*> by_ino_;
  std::set<uint32_t> queued_;              // file ids
  std::map<uint32_t, UniqueFd> far_ends_;  // other ends that do not exist in the checkpoint, by file id
  std::set<std::string> to_unlink_;
  std::vector<std::pair<std::string, std::string>> aside_;
};

}  // namespace

Result<void> check_unix(const image::FileEntry& entry, const Rebuild& rebuild) {
  if (!entry.usk) return error(EBADMSG, "files.img has no part for this socket");
  const Entry& sk = *entry.usk;
  if (sk.type != SOCK_STREAM && sk.type != SOCK_DGRAM && sk.type != SOCK_SEQPACKET) return error(EBADMSG, "unix socket {} has type {}", sk.ino, sk.type);
  if (sk.name.size() > sizeof(sockaddr_un::sun_path)) return error(EBADMSG, "unix socket {} has a name of {} bytes", sk.ino, sk.name.size());
  if (sk.uflags & 7) return error(ENOTSUP, "{} is external (flags {:#x}), which is not supported yet", label(sk), sk.uflags);
  for (const image::SocketPacket& packet : rebuild.checkpoint.packets) {
    if (packet.entry.id_for != entry.id) continue;
    if (!packet.entry.scm.empty()) return error(ENOTSUP, "{}: descriptors are being passed through it, which is not supported yet", label(sk));
    if (sk.state == kSocketListen) return error(EBADMSG, "{} listens, and cannot have packets", label(sk));
  }
  if (sk.peer == 0) return {};
  for (const auto& [id, other] : rebuild.checkpoint.files) {
    if (!other.usk || other.usk->ino != sk.peer) continue;
    if (other.usk->type != sk.type) return error(EBADMSG, "{} and its peer are of different types", label(sk));
    if (other.usk->peer != sk.ino && other.usk->name.empty()) return error(ENOTSUP, "{}: its peer has no name by which it can be reached", label(sk));
    return {};
  }
  return error(EBADMSG, "{}: its peer {} is not in the checkpoint", label(sk), sk.peer);
}

Result<void> make_unix_sockets(Rebuild& rebuild) { return Maker(rebuild).run(); }

}  // namespace faultline::objects
