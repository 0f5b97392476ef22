#include "core/objects/unix_diag.h"

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <sys/socket.h>

#include <cstring>

#include "core/base/unique_fd.h"

namespace faultline::objects {

namespace {

uint32_t word_of(const rtattr* attribute, size_t index = 0) {
  uint32_t word = 0;
  std::memcpy(&word, static_cast<const char*>(RTA_DATA(attribute)) + index * sizeof word, sizeof word);
  return word;
}

void take_attribute(const rtattr* a, UnixDiag& diag) {
  const size_t size = RTA_PAYLOAD(a);
  switch (a->rta_type) {
    case UNIX_DIAG_NAME: diag.name.assign(static_cast<const char*>(RTA_DATA(a)), size); break;
    case UNIX_DIAG_PEER: diag.peer = word_of(a); break;
    case UNIX_DIAG_ICONS:
      for (size_t i = 0; i < size / 4; ++i) diag.waiting.push_back(word_of(a, i));
      break;
    case UNIX_DIAG_RQLEN: diag.backlog = word_of(a, 1); break;  // second word: of listeners the limit
    case UNIX_DIAG_SHUTDOWN: diag.shutdown = *static_cast<const uint8_t*>(RTA_DATA(a)); break;
    default: break;
  }
}

void take_message(const nlmsghdr* head, std::map<uint32_t, UnixDiag>& all) {
  const auto* message = static_cast<const unix_diag_msg*>(NLMSG_DATA(head));
  UnixDiag& diag = all[message->udiag_ino];
  diag.state = message->udiag_state;
  long left = static_cast<long>(head->nlmsg_len) - static_cast<long>(NLMSG_LENGTH(sizeof *message));
  for (const auto* a = reinterpret_cast<const rtattr*>(message + 1); RTA_OK(a, left); a = RTA_NEXT(a, left)) take_attribute(a, diag);
}

}  // namespace

Result<std::map<uint32_t, UnixDiag>> list_unix_sockets() {
  const UniqueFd fd(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG));
  if (!fd) return sys_error("unix sockets cannot be listed (sock_diag)");
  struct {
    nlmsghdr head;
    unix_diag_req body;
  } request = {};
  request.head = {.nlmsg_len = sizeof request, .nlmsg_type = SOCK_DIAG_BY_FAMILY, .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP, .nlmsg_seq = 1, .nlmsg_pid = 0};
  request.body.sdiag_family = AF_UNIX;
  request.body.udiag_states = ~0u;
  request.body.udiag_show = UDIAG_SHOW_NAME | UDIAG_SHOW_PEER | UDIAG_SHOW_ICONS | UDIAG_SHOW_RQLEN;
  if (::send(fd.get(), &request, sizeof request, 0) < 0) return sys_error("unix sockets cannot be listed (sock_diag)");
  std::map<uint32_t, UnixDiag> all;
  alignas(nlmsghdr) char buffer[32768];
  for (;;) {
    long size = ::recv(fd.get(), buffer, sizeof buffer, 0);
    if (size <= 0) return sys_error("unix sockets cannot be listed (sock_diag)");
    for (const auto* head = reinterpret_cast<const nlmsghdr*>(buffer); NLMSG_OK(head, size); head = NLMSG_NEXT(head, size)) {
      if (head->nlmsg_type == NLMSG_DONE) return all;
      if (head->nlmsg_type == NLMSG_ERROR) {
        errno = -static_cast<const nlmsgerr*>(NLMSG_DATA(head))->error;
        return sys_error("unix sockets cannot be listed (does the kernel have CONFIG_UNIX_DIAG?)");
      }
      take_message(head, all);
    }
  }
}

}  // namespace faultline::objects
