// about: connections to a unix listener that nobody has accepted yet, with data already sent, are refused
// expect: refused accept

#include <sys/socket.h>
#include <sys/un.h>

#include "scenario.h"

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  struct sockaddr_un a = {.sun_family = AF_UNIX, .sun_path = "listener"};
  int listener = SYS(socket(AF_UNIX, SOCK_STREAM, 0)), clients[3];
  SYS(bind(listener, (struct sockaddr*)&a, sizeof a));
  SYS(listen(listener, 5));
  for (int i = 0; i < 3; i++) {
    clients[i] = SYS(socket(AF_UNIX, SOCK_STREAM, 0));
    SYS(connect(clients[i], (struct sockaddr*)&a, sizeof a));
    char text[2] = {(char)('a' + i), 0};
    SYS(send(clients[i], text, 1, 0));
  }
  ready();
  wait_for_go();
  for (int i = 0; i < 3; i++) {
    int fd = SYS(accept(listener, NULL, NULL));
    char byte = 0;
    CHECK(recv(fd, &byte, 1, 0) == 1 && byte == 'a' + i, "connection %d brings '%c'", i, byte);
    SYS(send(fd, &byte, 1, 0));
    CHECK(recv(clients[i], &byte, 1, 0) == 1 && byte == 'a' + i, "client %d gets '%c'", i, byte);
  }
  return 0;
}
