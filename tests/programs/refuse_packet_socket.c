// about: a packet socket is refused
// expect: refused packet

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <sys/socket.h>

#include "scenario.h"

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  int fd = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL));
  if (fd < 0) skip("no packet sockets here: %s", strerror(errno));
  ready();
  wait_for_go();
  CHECK(fcntl(fd, F_GETFD) == 0, "the socket is dead");
  return 0;
}
