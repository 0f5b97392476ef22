// about: a TCP connection that waits in the queue of a listener is refused
// expect: refused tcp|connection|established

#include <netinet/in.h>
#include <sys/socket.h>

#include "scenario.h"

// The client is not in the tree: only the listener's queue shows the connection.
int main(int argc, char** argv) {
  scenario_init(argc, argv);
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof a;
  int listener = SYS(socket(AF_INET, SOCK_STREAM, 0));
  SYS(bind(listener, (struct sockaddr*)&a, sizeof a));
  SYS(getsockname(listener, (struct sockaddr*)&a, &length));
  SYS(listen(listener, 3));
  pid_t outer = SYS(fork());
  if (outer == 0) {
    if (SYS(fork()) > 0) _exit(0);
    setsid();
    close(listener);
    int client = SYS(socket(AF_INET, SOCK_STREAM, 0));
    SYS(connect(client, (struct sockaddr*)&a, sizeof a));
    mark("connected");
    wait_for_go();
    char seen[8];
    CHECK(recv(client, seen, sizeof seen, 0) == 2, "no answer");
    _exit(0);
  }
  join_child(outer);
  await_mark("connected");
  ready();
  wait_for_go();
  int server = SYS(accept(listener, NULL, NULL));
  SYS(send(server, "ok", 2, 0));
  char byte;
  CHECK(recv(server, &byte, 1, 0) == 0, "the client does not close");
  return 0;
}
