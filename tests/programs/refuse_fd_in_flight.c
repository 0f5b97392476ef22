// about: a descriptor that travels in the queue of a unix socket (SCM_RIGHTS) is refused
// expect: refused SCM_RIGHTS|in flight|passed|queue

#include <sys/socket.h>

#include "scenario.h"

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  int pair[2], ends[2];
  SYS(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
  SYS(pipe(ends));
  char control[CMSG_SPACE(sizeof(int))], byte = 'x';
  struct iovec vector = {&byte, 1};
  struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
  struct cmsghdr* header = CMSG_FIRSTHDR(&message);
  *header = (struct cmsghdr){CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
  memcpy(CMSG_DATA(header), &ends[1], sizeof(int));
  SYS(sendmsg(pair[0], &message, 0));
  close(ends[1]);
  ready();
  wait_for_go();
  CHECK(recvmsg(pair[1], &message, 0) == 1 && (header = CMSG_FIRSTHDR(&message)) != NULL, "the descriptor is lost");
  int fd;
  memcpy(&fd, CMSG_DATA(header), sizeof fd);
  SYS(write(fd, "y", 1));
  CHECK(read(ends[0], &byte, 1) == 1 && byte == 'y', "it is another pipe");
  return 0;
}
