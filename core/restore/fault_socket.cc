#include "core/restore/fault_socket.h"

#include <sys/socket.h>

#include <cstring>

namespace faultline::restore {

Result<std::optional<SentFault>> receive_userfaultfd(int socket) {
  uint32_t token = 0;
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
  iovec io = {&token, sizeof token};
  msghdr message = {};
  message.msg_iov = &io;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  const ssize_t n = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
  if (n < 0 && errno == EAGAIN) return std::optional<SentFault>();
  if (n != sizeof token) return sys_error("cannot receive a userfaultfd");
  const cmsghdr* header = CMSG_FIRSTHDR(&message);
  if (!header) return error(EBADMSG, "a message without its userfaultfd");
  int fd;
  std::memcpy(&fd, CMSG_DATA(header), sizeof fd);
  return std::optional<SentFault>(std::in_place, token, UniqueFd(fd));
}

}  // namespace faultline::restore
