// TCP and UDP sockets over IPv4 and IPv6: TCP that listens or is not connected, UDP also connected.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <net/if.h>

#include <cstring>

#include "core/base/log.h"
#include "core/objects/socket.h"

namespace faultline::objects {

namespace {

struct Endpoint {
  std::vector<uint32_t> words;  // the address in network order, read as native words
  uint32_t port = 0;            // host order
  uint32_t scope = 0;
};

Endpoint endpoint_of(const sockaddr_storage& address) {
  Endpoint e;
  if (address.ss_family == AF_INET) {
    const auto& in = reinterpret_cast<const sockaddr_in&>(address);
    e.words = {in.sin_addr.s_addr};
    e.port = ntohs(in.sin_port);
  } else {
    const auto& in = reinterpret_cast<const sockaddr_in6&>(address);
    e.words.resize(4);
    std::memcpy(e.words.data(), &in.sin6_addr, 16);
    e.port = ntohs(in.sin6_port);
    e.scope = in.sin6_scope_id;
  }
  return e;
}

// Gives the length of the address.
socklen_t address_of(uint32_t family, const std::vector<uint32_t>& words, uint32_t port, uint32_t scope, sockaddr_storage& to) {
  to = {};
  to.ss_family = static_cast<sa_family_t>(family);
  if (family == AF_INET) {
    auto& in = reinterpret_cast<sockaddr_in&>(to);
    in.sin_addr.s_addr = words[0];
    in.sin_port = htons(static_cast<uint16_t>(port));
    return sizeof in;
  }
  auto& in = reinterpret_cast<sockaddr_in6&>(to);
  std::memcpy(&in.sin6_addr, words.data(), 16);
  in.sin6_port = htons(static_cast<uint16_t>(port));
  in.sin6_scope_id = scope;
  return sizeof in;
}

std::string text_of(const image::InetSkEntry& sk) {
  char text[INET6_ADDRSTRLEN] = "?";
  ::inet_ntop(static_cast<int>(sk.family), sk.src_addr.data(), text, sizeof text);
  return fmt::format("{} socket {}:{}", sk.type == SOCK_STREAM ? "TCP" : "UDP", text, sk.src_port);
}

// A value that was never set, and so is not in the image.
template <typename T>
void note(std::optional<T>& field, int value) {
  if (value) field = static_cast<T>(value);
}

class InetSocket final : public FileKind {
 public:
  image::FdTypes type() const override { return image::FdTypes::INETSK; }

  bool recognises(const FdView& fd) const override {
    const int family = S_ISSOCK(fd.st.st_mode) && !fd.only_path() ? socket_option(fd.copy.get(), SOL_SOCKET, SO_DOMAIN) : 0;
    return family == AF_INET || family == AF_INET6;
  }

  Result<void> collect(const FdView& fd, Collected&, image::FileEntry& entry) const override {
    const int s = fd.copy.get();
    image::InetSkEntry sk;
    sk.id = entry.id;
    sk.ino = static_cast<uint32_t>(fd.st.st_ino);
    sk.family = static_cast<uint32_t>(socket_option(s, SOL_SOCKET, SO_DOMAIN));
    sk.type = static_cast<uint32_t>(socket_option(s, SOL_SOCKET, SO_TYPE));
    sk.proto = static_cast<uint32_t>(socket_option(s, SOL_SOCKET, SO_PROTOCOL));
    if (!(sk.type == SOCK_STREAM && sk.proto == IPPROTO_TCP) && !(sk.type == SOCK_DGRAM && sk.proto == IPPROTO_UDP))
      return fd.refuse(fmt::format("{} sockets (protocol {}) are not supported yet; of internet sockets only TCP and UDP are", sk.type == SOCK_RAW ? "raw" : "such",
                                   sk.proto));
    sk.flags = fd.flags;
    sk.fown = TRY(owner_of(fd));
    sk.ns_id = kNetNs;
    TRY(addresses(fd, sk));
    TRY(sk.type == SOCK_STREAM ? tcp_state(fd, sk) : udp_state(fd, sk));
    sk.opts = TRY(collect_socket_options(fd, false));
    collect_options(s, sk);
    entry.isk = std::move(sk);
    return {};
  }

  Result<void> check(const image::FileEntry& entry, const Rebuild&) const override {
    if (!entry.isk) return error(EBADMSG, "files.img has no part for this socket");
    const image::InetSkEntry& sk = *entry.isk;
    const size_t words = sk.family == AF_INET ? 1 : 4;
    if ((sk.family != AF_INET && sk.family != AF_INET6) || sk.src_addr.size() != words || sk.dst_addr.size() != words || sk.src_port > 65535 ||
        sk.dst_port > 65535)
      return error(EBADMSG, "files.img has no valid address for this socket");
    if (sk.type != SOCK_STREAM && sk.type != SOCK_DGRAM) return error(ENOTSUP, "raw sockets cannot be restored yet");
    if (sk.type == SOCK_STREAM && sk.state != kSocketListen && sk.state != kSocketClose)
      return error(ENOTSUP, "{} is connected; established connections cannot be restored yet", text_of(sk));
    return {};
  }

  Result<UniqueFd> recreate(const image::FileEntry& entry, Rebuild& rebuild) const override {
    const image::InetSkEntry& sk = *entry.isk;
    UniqueFd fd(::socket(static_cast<int>(sk.family), static_cast<int>(sk.type) | SOCK_CLOEXEC, static_cast<int>(sk.proto)));
    if (!fd) return sys_error("{} cannot be made", text_of(sk));
    const int s = fd.get();
    TRY(options_before_bind(s, sk.opts, false));
    if (sk.family == AF_INET6) TRY(set_socket_option(s, IPPROTO_IPV6, IPV6_V6ONLY, sk.v6only.value_or(false), "IPV6_V6ONLY"));
    TRY(set_options(s, sk));
    TRY(attach(s, sk));
    TRY(set_status_flags(s, sk.flags, text_of(sk)));
    // SO_REUSEADDR is taken away only when all sockets are bound: several may share an address.
    rebuild.at_the_end.push_back([&sk, &rebuild, id = entry.id] { return options_at_the_end(rebuild.open[id].get(), sk.opts, false); });
    return fd;
  }

 private:
  static Result<void> addresses(const FdView& fd, image::InetSkEntry& sk) {
    sockaddr_storage address = {};
    socklen_t size = sizeof address;
    if (::getsockname(fd.copy.get(), reinterpret_cast<sockaddr*>(&address), &size) < 0) return sys_error("{}: its address cannot be asked", fd.name());
    const Endpoint here = endpoint_of(address);
    sk.src_addr = here.words;
    sk.src_port = here.port;
    char name[IF_NAMESIZE];
    if (here.scope && ::if_indextoname(here.scope, name)) sk.ifname = name;
    sk.dst_addr.assign(here.words.size(), 0);
    size = sizeof address;
    if (::getpeername(fd.copy.get(), reinterpret_cast<sockaddr*>(&address), &size) == 0) {
      const Endpoint there = endpoint_of(address);
      sk.dst_addr = there.words;
      sk.dst_port = there.port;
    }
    return {};
  }

  static Result<void> tcp_state(const FdView& fd, image::InetSkEntry& sk) {
    tcp_info info = {};
    socklen_t size = sizeof info;
    if (::getsockopt(fd.copy.get(), IPPROTO_TCP, TCP_INFO, &info, &size) < 0) return sys_error("{}: its state cannot be asked", fd.name());
    sk.state = info.tcpi_state;
    if (sk.state == kSocketListen) {
      // Of a listener the kernel tells the length of the queue here, and its limit.
      sk.backlog = info.tcpi_sacked;
      if (info.tcpi_unacked)
        return fd.refuse(fmt::format("{} TCP connections wait to be accepted by the program, which is not supported yet; try again", info.tcpi_unacked));
      return {};
    }
    if (sk.state != kSocketClose)
      return fd.refuse(fmt::format("it is a TCP connection (state {}); established connections are not supported yet (--tcp-established)", sk.state));
    return {};
  }

  static Result<void> udp_state(const FdView& fd, image::InetSkEntry& sk) {
    sk.state = sk.dst_port ? kSocketEstablished : kSocketClose;
    sk.shutdown = image::SkShutdown::NONE;
    int waiting = 0;
    if (::ioctl(fd.copy.get(), FIONREAD, &waiting) == 0 && waiting > 0)
      LOG_WARNING("{}: datagrams that the program has not read yet are lost, as UDP may lose them", fd.name());
    return {};
  }

  static void collect_options(int s, image::InetSkEntry& sk) {
    image::IpOptsEntry ip;
    if (sk.family == AF_INET6) {
      sk.v6only = socket_option(s, IPPROTO_IPV6, IPV6_V6ONLY) != 0;
      note(ip.freebind, socket_option(s, IPPROTO_IPV6, IPV6_FREEBIND));
      note(ip.pktinfo, socket_option(s, IPPROTO_IPV6, IPV6_RECVPKTINFO));
    } else {
      note(ip.freebind, socket_option(s, IPPROTO_IP, IP_FREEBIND));
      note(ip.pktinfo, socket_option(s, IPPROTO_IP, IP_PKTINFO));
      note(ip.tos, socket_option(s, IPPROTO_IP, IP_TOS));
      note(ip.ttl, socket_option(s, IPPROTO_IP, IP_TTL));
    }
    sk.ip_opts = ip;
    image::TcpOptsEntry tcp;
    if (sk.type == SOCK_STREAM) {
      note(tcp.cork, socket_option(s, IPPROTO_TCP, TCP_CORK));
      note(tcp.nodelay, socket_option(s, IPPROTO_TCP, TCP_NODELAY));
      note(tcp.keepcnt, socket_option(s, IPPROTO_TCP, TCP_KEEPCNT));
      note(tcp.keepidle, socket_option(s, IPPROTO_TCP, TCP_KEEPIDLE));
      note(tcp.keepintvl, socket_option(s, IPPROTO_TCP, TCP_KEEPINTVL));
    }
    sk.tcp_opts = tcp;
  }

  static Result<void> set_options(int s, const image::InetSkEntry& sk) {
    const bool v6 = sk.family == AF_INET6;
    const int level = v6 ? IPPROTO_IPV6 : IPPROTO_IP;
    if (sk.ip_opts) {
      const image::IpOptsEntry& ip = *sk.ip_opts;
      if (ip.freebind.value_or(false)) TRY(set_socket_option(s, level, v6 ? IPV6_FREEBIND : IP_FREEBIND, 1, "IP_FREEBIND"));
      if (ip.pktinfo.value_or(false)) TRY(set_socket_option(s, level, v6 ? IPV6_RECVPKTINFO : IP_PKTINFO, 1, "IP_PKTINFO"));
      if (ip.tos) TRY(set_socket_option(s, IPPROTO_IP, IP_TOS, static_cast<int>(*ip.tos), "IP_TOS"));
      if (ip.ttl && *ip.ttl != static_cast<uint32_t>(socket_option(s, IPPROTO_IP, IP_TTL)))
        TRY(set_socket_option(s, IPPROTO_IP, IP_TTL, static_cast<int>(*ip.ttl), "IP_TTL"));
    }
    if (!sk.tcp_opts || sk.type != SOCK_STREAM) return {};
    const image::TcpOptsEntry& tcp = *sk.tcp_opts;
    if (tcp.cork.value_or(false)) TRY(set_socket_option(s, IPPROTO_TCP, TCP_CORK, 1, "TCP_CORK"));
    if (tcp.nodelay.value_or(false)) TRY(set_socket_option(s, IPPROTO_TCP, TCP_NODELAY, 1, "TCP_NODELAY"));
    const struct { const std::optional<uint32_t>& value; int option; const char* name; } keep[] = {
        {tcp.keepcnt, TCP_KEEPCNT, "TCP_KEEPCNT"}, {tcp.keepidle, TCP_KEEPIDLE, "TCP_KEEPIDLE"}, {tcp.keepintvl, TCP_KEEPINTVL, "TCP_KEEPINTVL"}};
    for (const auto& k : keep)
      if (k.value && static_cast<int>(*k.value) != socket_option(s, IPPROTO_TCP, k.option))
        TRY(set_socket_option(s, IPPROTO_TCP, k.option, static_cast<int>(*k.value), k.name));
    return {};
  }

  static Result<void> attach(int s, const image::InetSkEntry& sk) {
    sockaddr_storage address;
    if (sk.src_port) {
      const uint32_t scope = sk.ifname ? ::if_nametoindex(sk.ifname->c_str()) : 0;
      const socklen_t size = address_of(sk.family, sk.src_addr, sk.src_port, scope, address);
      if (::bind(s, reinterpret_cast<sockaddr*>(&address), size) < 0)
        return sys_error("{} cannot be bound (does the program, or another one, still use this address?)", text_of(sk));
    }
    if (sk.type == SOCK_STREAM && sk.state == kSocketListen && ::listen(s, static_cast<int>(sk.backlog)) < 0)
      return sys_error("{} cannot listen", text_of(sk));
    if (sk.type == SOCK_DGRAM && sk.dst_port) {
      const socklen_t size = address_of(sk.family, sk.dst_addr, sk.dst_port, 0, address);
      if (::connect(s, reinterpret_cast<sockaddr*>(&address), size) < 0) return sys_error("{} cannot be connected to port {}", text_of(sk), sk.dst_port);
    }
    return {};
  }
};

const InetSocket kInetSocket;

}  // namespace

extern const FileKind& inet_socket_kind;
const FileKind& inet_socket_kind = kInetSocket;

}  // namespace faultline::objects
