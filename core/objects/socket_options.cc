// Options of the level SOL_SOCKET.
#include <linux/filter.h>
#include <net/if.h>
#include <sys/time.h>

#include "core/base/log.h"
#include "core/objects/socket.h"

namespace faultline::objects {

namespace {

#ifndef SO_BUF_LOCK
#define SO_BUF_LOCK 72
#endif

struct BoolOption { int option; const char* name; std::optional<bool> image::SkOptsEntry::* field; };
constexpr BoolOption kLate[] = {
    {SO_DONTROUTE, "SO_DONTROUTE", &image::SkOptsEntry::so_dontroute}, {SO_NO_CHECK, "SO_NO_CHECK", &image::SkOptsEntry::so_no_check},
    {SO_BROADCAST, "SO_BROADCAST", &image::SkOptsEntry::so_broadcast}, {SO_KEEPALIVE, "SO_KEEPALIVE", &image::SkOptsEntry::so_keepalive},
};

uint64_t pack(const sock_filter& f) {
  return (uint64_t{f.code} << 48) | (uint64_t{f.jt} << 40) | (uint64_t{f.jf} << 32) | f.k;
}

sock_filter unpack(uint64_t word) {
  return {.code = static_cast<uint16_t>(word >> 48), .jt = static_cast<uint8_t>(word >> 40), .jf = static_cast<uint8_t>(word >> 32),
          .k = static_cast<uint32_t>(word)};
}

Result<void> collect_filter(const FdView& fd, image::SkOptsEntry& options) {
  socklen_t count = 0;  // in instructions
  if (::getsockopt(fd.copy.get(), SOL_SOCKET, SO_GET_FILTER, nullptr, &count) < 0)
    return fd.refuse("its filter cannot be read (an eBPF program is attached?)");
  if (count == 0) return {};
  std::vector<sock_filter> filter(count);
  if (::getsockopt(fd.copy.get(), SOL_SOCKET, SO_GET_FILTER, filter.data(), &count) < 0) return sys_error("{}: its filter cannot be read", fd.name());
  for (const sock_filter& f : filter) options.so_filter.push_back(pack(f));
  return {};
}

Result<timeval> timeout(int fd, int option) {
  timeval tv = {};
  socklen_t size = sizeof tv;
  if (::getsockopt(fd, SOL_SOCKET, option, &tv, &size) < 0) return sys_error("a timeout of a socket cannot be asked");
  return tv;
}

// A size as getsockopt(2) gave it: twice what is set. Larger sizes than the system's limit need CAP_NET_ADMIN.
void set_buffer(int fd, int forced, int plain, uint32_t size, const char* name) {
  const int half = static_cast<int>(size / 2);
  if (::setsockopt(fd, SOL_SOCKET, forced, &half, sizeof half) < 0 && ::setsockopt(fd, SOL_SOCKET, plain, &half, sizeof half) < 0)
    LOG_WARNING("{} {} cannot be set: {}", name, size, errno_text(errno));
}

Result<void> set_timeout(int fd, int option, uint64_t seconds, uint64_t microseconds) {
  if (seconds == 0 && microseconds == 0) return {};
  const timeval tv = {static_cast<time_t>(seconds), static_cast<suseconds_t>(microseconds)};
  if (::setsockopt(fd, SOL_SOCKET, option, &tv, sizeof tv) < 0) return sys_error("a timeout of a socket cannot be set");
  return {};
}

}  // namespace

int socket_option(int fd, int level, int option) {
  int value = 0;
  socklen_t size = sizeof value;
  return ::getsockopt(fd, level, option, &value, &size) < 0 ? 0 : value;
}

Result<void> set_socket_option(int fd, int level, int option, int value, const char* name) {
  if (::setsockopt(fd, level, option, &value, sizeof value) < 0) return sys_error("socket option {} cannot be set to {}", name, value);
  return {};
}

Result<image::SkOptsEntry> collect_socket_options(const FdView& view, bool unix_socket) {
  const int fd = view.copy.get();
  const auto get = [fd](int option) { return socket_option(fd, SOL_SOCKET, option); };
  image::SkOptsEntry o;
  o.so_sndbuf = static_cast<uint32_t>(get(SO_SNDBUF));
  o.so_rcvbuf = static_cast<uint32_t>(get(SO_RCVBUF));
  const timeval send = TRY(timeout(fd, SO_SNDTIMEO)), receive = TRY(timeout(fd, SO_RCVTIMEO));
  o.so_snd_tmo_sec = static_cast<uint64_t>(send.tv_sec);
  o.so_snd_tmo_usec = static_cast<uint64_t>(send.tv_usec);
  o.so_rcv_tmo_sec = static_cast<uint64_t>(receive.tv_sec);
  o.so_rcv_tmo_usec = static_cast<uint64_t>(receive.tv_usec);
  o.reuseaddr = get(SO_REUSEADDR) != 0;
  o.so_priority = static_cast<uint32_t>(get(SO_PRIORITY));
  o.so_rcvlowat = static_cast<uint32_t>(get(SO_RCVLOWAT));
  if (const int mark = get(SO_MARK)) o.so_mark = static_cast<uint32_t>(mark);
  if (unix_socket) {
    o.so_passcred = get(SO_PASSCRED) != 0;
    o.so_passsec = get(SO_PASSSEC) != 0;
  }
  for (const BoolOption& b : kLate) o.*b.field = get(b.option) != 0;
  o.so_reuseport = get(SO_REUSEPORT) != 0;
  o.so_oobinline = static_cast<uint32_t>(get(SO_OOBINLINE));
  o.so_buf_lock = static_cast<uint32_t>(get(SO_BUF_LOCK));
  struct linger linger = {};
  socklen_t size = sizeof linger;
  if (::getsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, &size) == 0 && linger.l_onoff) o.so_linger = static_cast<uint32_t>(linger.l_linger);
  char device[IFNAMSIZ] = {};
  size = sizeof device;
  if (::getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, device, &size) == 0 && device[0]) o.so_bound_dev = device;
  TRY(collect_filter(view, o));
  return o;
}

Result<void> options_before_bind(int fd, const image::SkOptsEntry& o, bool unix_socket) {
  // The buffers first: what is put into the queues must fit.
  set_buffer(fd, SO_SNDBUFFORCE, SO_SNDBUF, o.so_sndbuf, "SO_SNDBUF");
  set_buffer(fd, SO_RCVBUFFORCE, SO_RCVBUF, o.so_rcvbuf, "SO_RCVBUF");
  if (o.so_mark && *o.so_mark) TRY(set_socket_option(fd, SOL_SOCKET, SO_MARK, static_cast<int>(*o.so_mark), "SO_MARK"));
  if (o.so_bound_dev && ::setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, o.so_bound_dev->c_str(), static_cast<socklen_t>(o.so_bound_dev->size() + 1)) < 0)
    return sys_error("a socket cannot be bound to the interface {}", *o.so_bound_dev);
  if (o.so_reuseport.value_or(false)) TRY(set_socket_option(fd, SOL_SOCKET, SO_REUSEPORT, 1, "SO_REUSEPORT"));
  // Connections that were closed may still wait on the address (TIME_WAIT): as at any start of a server, they must not hinder it.
  if (!unix_socket) TRY(set_socket_option(fd, SOL_SOCKET, SO_REUSEADDR, 1, "SO_REUSEADDR"));
  return {};
}

Result<void> options_at_the_end(int fd, const image::SkOptsEntry& o, bool unix_socket) {
  TRY(set_timeout(fd, SO_SNDTIMEO, o.so_snd_tmo_sec, o.so_snd_tmo_usec));
  TRY(set_timeout(fd, SO_RCVTIMEO, o.so_rcv_tmo_sec, o.so_rcv_tmo_usec));
  TRY(set_socket_option(fd, SOL_SOCKET, SO_REUSEADDR, o.reuseaddr.value_or(false), "SO_REUSEADDR"));
  if (o.so_priority.value_or(0)) TRY(set_socket_option(fd, SOL_SOCKET, SO_PRIORITY, static_cast<int>(*o.so_priority), "SO_PRIORITY"));
  if (o.so_rcvlowat.value_or(1) != 1) TRY(set_socket_option(fd, SOL_SOCKET, SO_RCVLOWAT, static_cast<int>(*o.so_rcvlowat), "SO_RCVLOWAT"));
  if (unix_socket && o.so_passcred.value_or(false)) TRY(set_socket_option(fd, SOL_SOCKET, SO_PASSCRED, 1, "SO_PASSCRED"));
  if (unix_socket && o.so_passsec.value_or(false)) TRY(set_socket_option(fd, SOL_SOCKET, SO_PASSSEC, 1, "SO_PASSSEC"));
  for (const BoolOption& b : kLate)
    if ((o.*b.field).value_or(false)) TRY(set_socket_option(fd, SOL_SOCKET, b.option, 1, b.name));
  if (o.so_oobinline.value_or(0)) TRY(set_socket_option(fd, SOL_SOCKET, SO_OOBINLINE, 1, "SO_OOBINLINE"));
  if (o.so_linger) {
    const struct linger linger = {.l_onoff = 1, .l_linger = static_cast<int>(*o.so_linger)};
    if (::setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger) < 0) return sys_error("SO_LINGER cannot be set");
  }
  if (!o.so_filter.empty()) {
    std::vector<sock_filter> filter;
    for (uint64_t word : o.so_filter) filter.push_back(unpack(word));
    const sock_fprog program = {.len = static_cast<unsigned short>(filter.size()), .filter = filter.data()};
    if (::setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) < 0) return sys_error("the filter of a socket cannot be attached");
  }
  // Setting the sizes fixed them: the kernel grows them by itself only where it did so before.
  if (o.so_buf_lock) {
    const int lock = static_cast<int>(*o.so_buf_lock);
    if (::setsockopt(fd, SOL_SOCKET, SO_BUF_LOCK, &lock, sizeof lock) < 0) LOG_WARNING("SO_BUF_LOCK cannot be set: {}", errno_text(errno));
  }
  return {};
}

}  // namespace faultline::objects
