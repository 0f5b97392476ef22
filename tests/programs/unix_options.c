// about: options of unix sockets: buffer sizes, SO_PASSCRED, SO_PASSSEC, SO_RCVTIMEO, SO_RCVLOWAT, peer credentials

#include <sys/socket.h>
#include <sys/time.h>

#include "scenario.h"

static int get(int fd, int option) {
  int value = -1;
  SYS(getsockopt(fd, SOL_SOCKET, option, &value, &(socklen_t){sizeof value}));
  return value;
}

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  int pair[2];
  SYS(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
  static const int options[] = {SO_SNDBUF, SO_RCVBUF, SO_PASSCRED, SO_PASSSEC, SO_RCVLOWAT, SO_PRIORITY};
  enum { N = sizeof options / sizeof options[0] };
  static const int values[N] = {50000, 60000, 1, 1, 3, 2};
  int before[N];
  for (int i = 0; i < N; i++) {
    setsockopt(pair[0], SOL_SOCKET, options[i], &values[i], sizeof values[i]);
    before[i] = get(pair[0], options[i]);
  }
  struct timeval timeout = {3, 250000}, now;
  SYS(setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout));
  struct ucred peer;
  ready();
  wait_for_go();
  for (int i = 0; i < N; i++)
    CHECK(get(pair[0], options[i]) == before[i], "option %d: %d became %d", options[i], before[i], get(pair[0], options[i]));
  SYS(getsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &now, &(socklen_t){sizeof now}));
  CHECK(now.tv_sec == 3 && now.tv_usec / 10000 == 25, "SO_RCVTIMEO is %ld.%06ld", (long)now.tv_sec, (long)now.tv_usec);
  SYS(getsockopt(pair[0], SOL_SOCKET, SO_PEERCRED, &peer, &(socklen_t){sizeof peer}));
  CHECK(peer.uid == getuid() && peer.gid == getgid(), "peer credentials: uid %d gid %d", peer.uid, peer.gid);
  return 0;
}
