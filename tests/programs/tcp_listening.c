// about: listening TCP sockets over IPv4 and IPv6: address, port, options; newcomers are accepted
// no-crit: crit 3.17 does not know the field tcp_opts

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "scenario.h"

struct option {
  int level, name, value;
};

static const struct option options[] = {{SOL_SOCKET, SO_REUSEADDR, 1},     {SOL_SOCKET, SO_KEEPALIVE, 1},    {SOL_SOCKET, SO_SNDBUF, 40000},
                                        {SOL_SOCKET, SO_RCVBUF, 50000},    {SOL_SOCKET, SO_REUSEPORT, 1},    {IPPROTO_TCP, TCP_NODELAY, 1},
                                        {IPPROTO_TCP, TCP_KEEPIDLE, 77},   {IPPROTO_TCP, TCP_KEEPINTVL, 33}, {IPPROTO_TCP, TCP_KEEPCNT, 4},
                                        {IPPROTO_TCP, TCP_DEFER_ACCEPT, 0}};
enum { N = sizeof options / sizeof options[0] };

static int get(int fd, const struct option* o) {
  int value = -1;
  SYS(getsockopt(fd, o->level, o->name, &value, &(socklen_t){sizeof value}));
  return value;
}

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  int fds[2], before[2][N], six = 1;
  struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
  struct sockaddr* addresses[] = {(struct sockaddr*)&v4, (struct sockaddr*)&v6};
  socklen_t lengths[] = {sizeof v4, sizeof v6};
  for (int i = 0; i < 2; i++) {
    fds[i] = SYS(socket(addresses[i]->sa_family, SOCK_STREAM | SOCK_NONBLOCK, 0));
    for (int o = 0; o < N; o++) SYS(setsockopt(fds[i], options[o].level, options[o].name, &options[o].value, sizeof(int)));
    if (i) SYS(setsockopt(fds[i], IPPROTO_IPV6, IPV6_V6ONLY, &six, sizeof six));
    SYS(bind(fds[i], addresses[i], lengths[i]));
    SYS(listen(fds[i], 13));
    SYS(getsockname(fds[i], addresses[i], &lengths[i]));
    for (int o = 0; o < N; o++) before[i][o] = get(fds[i], &options[o]);
  }
  ready();
  wait_for_go();
  CHECK(get(fds[1], &(struct option){IPPROTO_IPV6, IPV6_V6ONLY, 0}) == 1, "IPV6_V6ONLY is lost");
  for (int i = 0; i < 2; i++) {
    for (int o = 0; o < N; o++)
      CHECK(get(fds[i], &options[o]) == before[i][o], "socket %d option %d/%d: %d became %d", i, options[o].level, options[o].name,
            before[i][o], get(fds[i], &options[o]));
    struct tcp_info info;
    SYS(getsockopt(fds[i], IPPROTO_TCP, TCP_INFO, &info, &(socklen_t){sizeof info}));
    CHECK(info.tcpi_state == 10 && info.tcpi_sacked == 13, "socket %d: state %d backlog %d", i, info.tcpi_state,
          info.tcpi_sacked);  // TCP_LISTEN; tcpi_sacked is the backlog
    int client = SYS(socket(addresses[i]->sa_family, SOCK_STREAM, 0));
    CHECK(connect(client, addresses[i], lengths[i]) == 0, "nobody listens at socket %d", i);
    int server = SYS(accept(fds[i], NULL, NULL));
    char seen[8];
    SYS(send(client, "hello", 5, 0));
    CHECK(recv(server, seen, 8, 0) == 5, "no data");
    close(client);
    close(server);
  }
  return 0;
}
