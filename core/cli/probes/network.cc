#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_link.h>
#include <linux/if_tun.h>
#include <linux/inet_diag.h>
#include <linux/net_namespace.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <linux/veth.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <string>

#include "core/base/unique_fd.h"
#include "core/cli/probes/child.h"
#include "core/cli/probes/probes.h"

namespace faultline::cli::probe {

namespace {

constexpr int kWantedIndex = 77;

// One netlink request: header, the family's own struct, attributes (nested ones are opened and closed).
class Request {
 public:
  template <typename Body>
  Request(uint16_t type, uint16_t flags, const Body& body) {
    header_.nlmsg_type = type;
    header_.nlmsg_flags = static_cast<uint16_t>(flags | NLM_F_REQUEST);
    append(&header_, sizeof header_);
    append(&body, sizeof body);
  }
  void attribute(uint16_t type, const void* data, size_t size) {
    rtattr head = {static_cast<unsigned short>(RTA_LENGTH(size)), type};
    append(&head, sizeof head);
    append(data, size);
  }
  size_t open(uint16_t type) {
    const size_t at = bytes_.size();
    attribute(type, nullptr, 0);
    return at;
  }
  void close(size_t at) {
    const auto size = static_cast<unsigned short>(bytes_.size() - at);
    memcpy(&bytes_[at], &size, sizeof size);
  }
  template <typename Body>
  void body(const Body& b) { append(&b, sizeof b); }

  // Sends it, and returns the attributes' bytes of the first answer; empty for an acknowledgement. The kernel's refusal is errno.
  Result<std::string> ask(int family, size_t body_size, const char* what) {
    UniqueFd sk(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, family));
    if (!sk) return sys_error("{}: netlink socket", what);
    header_.nlmsg_len = static_cast<uint32_t>(bytes_.size());
    memcpy(bytes_.data(), &header_, sizeof header_);
    if (::send(sk.get(), bytes_.data(), bytes_.size(), 0) < 0) return sys_error("{}", what);
    alignas(nlmsghdr) char buffer[16384];
    const ssize_t size = ::recv(sk.get(), buffer, sizeof buffer, 0);
    if (size < static_cast<ssize_t>(sizeof(nlmsghdr))) return sys_error("{}: no answer", what);
    nlmsghdr head;
    memcpy(&head, buffer, sizeof head);
    if (head.nlmsg_type == NLMSG_ERROR) {
      nlmsgerr refusal;
      memcpy(&refusal, buffer + NLMSG_HDRLEN, sizeof refusal);
      if (refusal.error == 0) return std::string();
      errno = -refusal.error;
      return sys_error("{}", what);
    }
    const size_t start = NLMSG_HDRLEN + NLMSG_ALIGN(body_size);
    if (head.nlmsg_type == NLMSG_DONE || static_cast<size_t>(size) < start) return std::string();
    return std::string(buffer + start, buffer + size);
  }

 private:
  void append(const void* data, size_t size) {
    if (size) bytes_.append(static_cast<const char*>(data), size);
    bytes_.resize(NLMSG_ALIGN(bytes_.size()), '\0');
  }
  nlmsghdr header_ = {};
  std::string bytes_;
};

bool has_attribute(std::string_view bytes, uint16_t type) {
  while (bytes.size() >= sizeof(rtattr)) {
    rtattr head;
    memcpy(&head, bytes.data(), sizeof head);
    if (head.rta_type == type) return true;
    if (head.rta_len < sizeof head) return false;
    bytes.remove_prefix(std::min<size_t>(RTA_ALIGN(head.rta_len), bytes.size()));
  }
  return false;
}

Result<UniqueFd> open_tun(const char* name) {
  UniqueFd fd(::open("/dev/net/tun", O_RDWR | O_CLOEXEC));
  if (!fd) return sys_error("cannot open /dev/net/tun");
  unsigned index = kWantedIndex;
  if (ioctl(fd.get(), TUNSETIFINDEX, &index) < 0) return sys_error("choosing the index of a tun device (TUNSETIFINDEX)");
  ifreq request = {};
  strncpy(request.ifr_name, name, IFNAMSIZ - 1);
  request.ifr_flags = IFF_TUN | IFF_NO_PI;
  if (ioctl(fd.get(), TUNSETIFF, &request) < 0) return sys_error("making a tun device");
  return fd;
}

Result<UniqueFd> own_netns() {
  UniqueFd fd(::open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));
  if (!fd) return sys_error("cannot open /proc/self/ns/net");
  return fd;
}

// In a network namespace of its own: a pair of links, one of them in a second namespace, must name that namespace.
Result<void> look_at_link_across_namespaces() {
  const UniqueFd first = TRY(own_netns());
  if (unshare(CLONE_NEWNET) < 0) return sys_error("cannot make a second network namespace");
  ifinfomsg link = {};
  Request make(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK, link);
  make.attribute(IFLA_IFNAME, "fl0", 4);
  const size_t info = make.open(IFLA_LINKINFO);
  make.attribute(IFLA_INFO_KIND, "veth", 4);
  const size_t data = make.open(IFLA_INFO_DATA);
  const size_t peer = make.open(VETH_INFO_PEER);
  make.body(link);
  make.attribute(IFLA_IFNAME, "fl1", 4);
  const int fd = first.get();
  make.attribute(IFLA_NET_NS_FD, &fd, sizeof fd);
  make.close(peer);
  make.close(data);
  make.close(info);
  TRY(make.ask(NETLINK_ROUTE, sizeof link, "making a veth pair across two network namespaces"));
  Request get(RTM_GETLINK, 0, link);
  get.attribute(IFLA_IFNAME, "fl0", 4);
  if (has_attribute(TRY(get.ask(NETLINK_ROUTE, sizeof link, "asking for a link")), IFLA_LINK_NETNSID)) return {};
  return error(ENOTSUP, "links do not name the network namespace of their peer (IFLA_LINK_NETNSID)");
}

// A loopback connection whose one direction is shut down must be allowed to enter repair mode.
Result<void> repair_half_closed() {
  UniqueFd listener(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  UniqueFd client(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  if (!listener || !client || bind(listener.get(), generic, length) < 0 || listen(listener.get(), 1) < 0 ||
      getsockname(listener.get(), generic, &length) < 0 || connect(client.get(), generic, length) < 0)
    return sys_error("cannot make a TCP connection over the loopback device");
  UniqueFd server(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (!server || shutdown(client.get(), SHUT_WR) < 0) return sys_error("cannot half-close a TCP connection");
  const int on = 1;
  if (setsockopt(client.get(), IPPROTO_TCP, TCP_REPAIR, &on, sizeof on) < 0) return sys_error("repair mode of a half-closed TCP connection");
  return {};
}

}  // namespace

Result<void> tun() {
  return in_child(CLONE_NEWNET, []() -> Result<void> {
    TRY(open_tun("fltun"));
    return {};
  });
}

Result<void> tun_ns() {
  return in_child(CLONE_NEWNET, []() -> Result<void> {
    const UniqueFd fd = TRY(open_tun("fltun"));
    if (!UniqueFd(ioctl(fd.get(), SIOCGSKNS))) return sys_error("asking for the network namespace of a tun device (SIOCGSKNS)");
    return {};
  });
}

Result<void> sk_ns() {
  UniqueFd sk(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!sk) return sys_error("socket(2)");
  if (!UniqueFd(ioctl(sk.get(), SIOCGSKNS))) return sys_error("asking for the network namespace of a socket (SIOCGSKNS)");
  return {};
}

Result<void> net_diag_raw() {
  inet_diag_req_v2 query = {};
  query.sdiag_family = AF_INET;
  query.sdiag_protocol = IPPROTO_RAW;
  query.idiag_states = ~0u;
  Request request(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, query);
  TRY(request.ask(NETLINK_SOCK_DIAG, sizeof query, "listing raw sockets through sock_diag"));
  return {};
}

Result<void> nsid() {
  const UniqueFd ns = TRY(own_netns());
  const int fd = ns.get();
  rtgenmsg message = {AF_UNSPEC};
  Request request(RTM_GETNSID, 0, message);
  request.attribute(NETNSA_FD, &fd, sizeof fd);
  if (has_attribute(TRY(request.ask(NETLINK_ROUTE, sizeof message, "asking for the id of a network namespace (RTM_GETNSID)")), NETNSA_NSID)) return {};
  return error(ENOTSUP, "the answer to RTM_GETNSID holds no id");
}

Result<void> link_nsid() { return in_child(CLONE_NEWNET, look_at_link_across_namespaces); }

Result<void> newifindex() {
  return in_child(CLONE_NEWNET, []() -> Result<void> {
    ifinfomsg link = {};
    link.ifi_index = 1;  // lo
    Request request(RTM_SETLINK, NLM_F_ACK, link);
    // A kernel that knows the attribute refuses a negative index; one that does not skips it.
    const int impossible = -1;
    request.attribute(IFLA_NEW_IFINDEX, &impossible, sizeof impossible);
    const auto answer = request.ask(NETLINK_ROUTE, sizeof link, "choosing the index of a link that is moved (IFLA_NEW_IFINDEX)");
    if (answer) return error(ENOTSUP, "the kernel does not look at IFLA_NEW_IFINDEX");
    if (answer.error().code == ERANGE || answer.error().code == EINVAL) return {};
    return Failure(answer.error());
  });
}

Result<void> nftables() {
  nfgenmsg message = {AF_UNSPEC, NFNETLINK_V0, 0};
  Request request(NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETGEN, 0, message);
  TRY(request.ask(NETLINK_NETFILTER, sizeof message, "asking nftables for its generation"));
  return {};
}

Result<void> ipt_legacy() {
  // Asking through a socket would load the module, which a check must not do.
  if (access("/proc/net/ip_tables_names", F_OK) < 0) return error(ENOTSUP, "there is no /proc/net/ip_tables_names; modprobe ip_tables, if the kernel has it");
  return {};
}

Result<void> tcp_half_closed() { return repair_half_closed(); }

Result<void> sockopt_buf_lock() {
  UniqueFd sk(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  int value = 0;
  socklen_t size = sizeof value;
  if (!sk || getsockopt(sk.get(), SOL_SOCKET, SO_BUF_LOCK, &value, &size) < 0) return sys_error("the socket option SO_BUF_LOCK");
  return {};
}

Result<void> ipv6_freebind() {
  UniqueFd sk(socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!sk) return sys_error("an IPv6 socket");
  const int on = 1;
  if (setsockopt(sk.get(), IPPROTO_IPV6, 78 /* IPV6_FREEBIND */, &on, sizeof on) < 0) return sys_error("the socket option IPV6_FREEBIND");
  return {};
}

}  // namespace faultline::cli::probe
