// about: UDP sockets over IPv4 and IPv6: bound, connected, options
// no-crit: crit 3.17 does not know the fields of ttl and tos

#include <netinet/in.h>
#include <sys/socket.h>

#include "scenario.h"

static int get(int fd, int level, int option) {
  int value = -1;
  SYS(getsockopt(fd, level, option, &value, &(socklen_t){sizeof value}));
  return value;
}

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  int a = SYS(socket(AF_INET, SOCK_DGRAM, 0)), b = SYS(socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0)),
      six = SYS(socket(AF_INET6, SOCK_DGRAM, 0)), fresh = SYS(socket(AF_INET, SOCK_DGRAM, 0));
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)}, other = address, now;
  struct sockaddr_in6 address6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
  socklen_t length = sizeof address, length6 = sizeof address6;
  SYS(bind(a, (struct sockaddr*)&address, sizeof address));
  SYS(bind(b, (struct sockaddr*)&other, sizeof other));
  SYS(bind(six, (struct sockaddr*)&address6, sizeof address6));
  SYS(getsockname(a, (struct sockaddr*)&address, &length));
  SYS(getsockname(b, (struct sockaddr*)&other, &length));
  SYS(getsockname(six, (struct sockaddr*)&address6, &length6));
  SYS(connect(a, (struct sockaddr*)&other, sizeof other));
  SYS(setsockopt(fresh, SOL_SOCKET, SO_BROADCAST, &(int){1}, sizeof(int)));
  SYS(setsockopt(a, IPPROTO_IP, IP_TTL, &(int){33}, sizeof(int)));
  SYS(setsockopt(a, IPPROTO_IP, IP_TOS, &(int){16}, sizeof(int)));
  SYS(setsockopt(b, IPPROTO_IP, IP_PKTINFO, &(int){1}, sizeof(int)));
  ready();
  wait_for_go();
  char seen[16] = "";
  SYS(send(a, "one", 3, 0));
  length = sizeof now;
  CHECK(recvfrom(b, seen, 16, 0, (struct sockaddr*)&now, &length) == 3 && now.sin_port == address.sin_port, "from port %d, should be %d",
        ntohs(now.sin_port), ntohs(address.sin_port));
  SYS(sendto(fresh, "no", 2, 0, (struct sockaddr*)&address, sizeof address));  // not from the peer: a is connected and does not take it
  SYS(sendto(b, "back", 4, 0, (struct sockaddr*)&address, sizeof address));
  CHECK(recv(a, seen, 16, 0) == 4 && memcmp(seen, "back", 4) == 0, "\"%s\"", seen);
  SYS(sendto(six, "self", 4, 0, (struct sockaddr*)&address6, sizeof address6));
  CHECK(recv(six, seen, 16, 0) == 4, "IPv6");
  CHECK(get(fresh, SOL_SOCKET, SO_BROADCAST) == 1, "SO_BROADCAST");
  CHECK(get(a, IPPROTO_IP, IP_TTL) == 33 && get(a, IPPROTO_IP, IP_TOS) == 16, "IP_TTL %d, IP_TOS %d", get(a, IPPROTO_IP, IP_TTL),
        get(a, IPPROTO_IP, IP_TOS));
  CHECK(get(b, IPPROTO_IP, IP_PKTINFO) == 1, "IP_PKTINFO");
  CHECK(fcntl(b, F_GETFL) == (O_RDWR | O_NONBLOCK), "flags");
  return 0;
}
