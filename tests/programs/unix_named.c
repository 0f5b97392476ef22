// about: named and abstract unix sockets: listening, bound, connected by name; deleted name; newcomers reach them afterwards

#include <sys/socket.h>
#include <sys/un.h>

#include "scenario.h"

static socklen_t name_of(struct sockaddr_un* a, const char* name, bool abstract) {
  memset(a, 0, sizeof *a);
  a->sun_family = AF_UNIX;
  memcpy(a->sun_path + abstract, name, strlen(name));
  return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + abstract + strlen(name) + !abstract);
}

static int make(int type, const char* name, bool abstract) {
  struct sockaddr_un a;
  socklen_t length = name_of(&a, name, abstract);
  int fd = SYS(socket(AF_UNIX, type, 0));
  SYS(bind(fd, (struct sockaddr*)&a, length));
  return fd;
}

static int reach(int type, const char* name, bool abstract) {
  struct sockaddr_un a;
  socklen_t length = name_of(&a, name, abstract);
  int fd = SYS(socket(AF_UNIX, type, 0));
  CHECK(connect(fd, (struct sockaddr*)&a, length) == 0, "cannot connect to %s", name);
  return fd;
}

static void talk(int listener, int type, const char* name, bool abstract) {
  int client = reach(type, name, abstract), server = SYS(accept(listener, NULL, NULL));
  char seen[8] = "";
  SYS(send(client, "hello", 5, 0));
  CHECK(recv(server, seen, 8, 0) == 5 && memcmp(seen, "hello", 5) == 0, "%s: \"%s\"", name, seen);
  close(client);
  close(server);
}

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  int named = make(SOCK_STREAM, "stream.sock", false), hidden = make(SOCK_SEQPACKET, "scenario hidden", true),
      unlisted = make(SOCK_STREAM, "later.sock", false);
  int dgram = make(SOCK_DGRAM, "dgram.sock", false), gone = make(SOCK_STREAM, "gone.sock", false);
  SYS(listen(named, 7));
  SYS(listen(hidden, 7));
  SYS(listen(gone, 1));
  SYS(chmod("stream.sock", 0621));
  int client = reach(SOCK_STREAM, "stream.sock", false), server = SYS(accept(named, NULL, NULL));
  int to_dgram = reach(SOCK_DGRAM, "dgram.sock", false);
  SYS(send(to_dgram, "queued datagram", 15, 0));
  SYS(unlink("gone.sock"));
  ready();
  wait_for_go();
  talk(named, SOCK_STREAM, "stream.sock", false);
  talk(hidden, SOCK_SEQPACKET, "scenario hidden", true);
  SYS(listen(unlisted, 1));
  talk(unlisted, SOCK_STREAM, "later.sock", false);
  char seen[64] = "";
  CHECK(recv(dgram, seen, 64, MSG_DONTWAIT) == 15 && strcmp(seen, "queued datagram") == 0, "\"%s\"", seen);
  SYS(send(to_dgram, "next", 4, 0));
  CHECK(recv(dgram, seen, 64, MSG_DONTWAIT) == 4, "the connected datagram socket has lost its peer");
  SYS(send(client, "still", 5, 0));
  CHECK(recv(server, seen, 64, 0) == 5, "the accepted connection is lost");
  struct sockaddr_un a;
  socklen_t length = sizeof a;
  SYS(getpeername(client, (struct sockaddr*)&a, &length));
  CHECK(strcmp(a.sun_path, "stream.sock") == 0, "the peer's name is \"%s\"", a.sun_path);
  length = sizeof a;
  SYS(getsockname(hidden, (struct sockaddr*)&a, &length));
  CHECK(length == offsetof(struct sockaddr_un, sun_path) + 16 && memcmp(a.sun_path + 1, "scenario hidden", 15) == 0, "the abstract name");
  CHECK(access("gone.sock", F_OK) == -1, "the deleted socket file is back");
  int listening;
  SYS(getsockopt(gone, SOL_SOCKET, SO_ACCEPTCONN, &listening, &(socklen_t){sizeof listening}));
  CHECK(listening == 1, "the nameless listener does not listen");
  struct stat st;
  SYS(stat("stream.sock", &st));
  CHECK((st.st_mode & 0777) == 0621, "mode of the socket file is %o", st.st_mode);
  return 0;
}
