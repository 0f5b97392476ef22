// about: a raw IP socket is refused
// expect: refused raw

#include <netinet/in.h>
#include <sys/socket.h>

#include "scenario.h"

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  int fd = socket(AF_INET, SOCK_RAW, IPPROTO_ICMP);
  if (fd < 0) skip("no raw sockets here: %s", strerror(errno));
  ready();
  wait_for_go();
  CHECK(fcntl(fd, F_GETFD) == 0, "the socket is dead");
  return 0;
}
