// about: an established TCP connection is refused, and goes on
// expect: refused tcp|connection|established

#include <netinet/in.h>
#include <sys/socket.h>

#include "scenario.h"

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof a;
  int listener = SYS(socket(AF_INET, SOCK_STREAM, 0)), client = SYS(socket(AF_INET, SOCK_STREAM, 0));
  SYS(bind(listener, (struct sockaddr*)&a, sizeof a));
  SYS(getsockname(listener, (struct sockaddr*)&a, &length));
  SYS(listen(listener, 3));
  SYS(connect(client, (struct sockaddr*)&a, sizeof a));
  int server = SYS(accept(listener, NULL, NULL));
  SYS(send(client, "queued", 6, 0));
  ready();
  wait_for_go();
  char seen[16];
  CHECK(recv(server, seen, sizeof seen, 0) == 6, "the connection has suffered");
  SYS(send(server, "back", 4, 0));
  CHECK(recv(client, seen, sizeof seen, 0) == 4, "the connection has suffered");
  return 0;
}
