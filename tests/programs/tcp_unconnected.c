// about: TCP sockets that are only created, or bound, or bound to a v4 address in v6, then used
// no-crit: crit 3.17 does not know the field tcp_opts

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "scenario.h"

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  int fresh = SYS(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)), fresh6 = SYS(socket(AF_INET6, SOCK_STREAM, 0)),
      bound = SYS(socket(AF_INET, SOCK_STREAM, 0)), dual = SYS(socket(AF_INET6, SOCK_STREAM, 0));
  struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)}, now;
  struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
  socklen_t length = sizeof v4, length6 = sizeof v6;
  SYS(bind(bound, (struct sockaddr*)&v4, sizeof v4));
  SYS(getsockname(bound, (struct sockaddr*)&v4, &length));
  SYS(bind(dual, (struct sockaddr*)&v6, sizeof v6));
  SYS(getsockname(dual, (struct sockaddr*)&v6, &length6));
  SYS(setsockopt(fresh, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int)));
  ready();
  wait_for_go();
  length = sizeof now;
  SYS(getsockname(bound, (struct sockaddr*)&now, &length));
  CHECK(now.sin_port == v4.sin_port && now.sin_addr.s_addr == v4.sin_addr.s_addr, "port %d became %d", ntohs(v4.sin_port),
        ntohs(now.sin_port));
  int value = 0;
  SYS(getsockopt(fresh, IPPROTO_TCP, TCP_NODELAY, &value, &(socklen_t){sizeof value}));
  CHECK(value == 1 && fcntl(fresh, F_GETFD) == FD_CLOEXEC, "TCP_NODELAY %d", value);
  SYS(listen(bound, 3));
  SYS(connect(fresh, (struct sockaddr*)&v4, sizeof v4));
  SYS(accept(bound, NULL, NULL));
  SYS(listen(dual, 3));
  struct sockaddr_in6 mapped = v6;
  mapped.sin6_addr = (struct in6_addr)IN6ADDR_LOOPBACK_INIT;
  SYS(connect(fresh6, (struct sockaddr*)&mapped, sizeof mapped));
  SYS(accept(dual, NULL, NULL));
  int v4_client = SYS(socket(AF_INET, SOCK_STREAM, 0));
  v4.sin_port = v6.sin6_port;
  CHECK(connect(v4_client, (struct sockaddr*)&v4, sizeof v4) == 0, "the dual socket does not take IPv4");
  return 0;
}
