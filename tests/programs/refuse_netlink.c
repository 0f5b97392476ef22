// about: a netlink socket is refused
// expect: refused netlink

#include <linux/netlink.h>
#include <sys/socket.h>

#include "scenario.h"

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  int fd = SYS(socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE));
  struct sockaddr_nl a = {.nl_family = AF_NETLINK};
  SYS(bind(fd, (struct sockaddr*)&a, sizeof a));
  ready();
  wait_for_go();
  socklen_t length = sizeof a;
  CHECK(getsockname(fd, (struct sockaddr*)&a, &length) == 0 && a.nl_pid != 0, "the socket is dead");
  return 0;
}
