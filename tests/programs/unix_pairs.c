// about: unix socket pairs (stream, datagram, seqpacket) with queued data in both directions, half closed, and flags

#include <sys/socket.h>

#include "scenario.h"

static void expect(int fd, const char* text) {
  char seen[128] = "";
  ssize_t n = recv(fd, seen, sizeof seen, MSG_DONTWAIT);
  CHECK(n == (ssize_t)strlen(text) && memcmp(seen, text, (size_t)n) == 0, "descriptor %d gives \"%s\" (%zd) instead of \"%s\"", fd, seen, n,
        text);
}

static void expect_nothing(int fd) {
  char byte;
  CHECK(recv(fd, &byte, 1, MSG_DONTWAIT) == -1 && errno == EAGAIN, "descriptor %d has more data", fd);
}

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  static const int types[] = {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET};
  int pairs[3][2], half[2], orphan[2], big[2];
  for (int i = 0; i < 3; i++) {
    SYS(socketpair(AF_UNIX, types[i] | SOCK_CLOEXEC, 0, pairs[i]));
    SYS(send(pairs[i][0], "first", 5, 0));
    SYS(send(pairs[i][0], "the second", 10, 0));
    SYS(send(pairs[i][1], "back", 4, 0));
  }
  SYS(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, half));
  SYS(send(half[0], "rest", 4, 0));
  SYS(shutdown(half[0], SHUT_WR));
  SYS(socketpair(AF_UNIX, SOCK_STREAM, 0, orphan));
  SYS(send(orphan[1], "left", 4, 0));
  SYS(close(orphan[1]));
  SYS(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, big));
  static uint64_t data[1 << 15], seen[1 << 15];
  fill(data, sizeof data, 1);
  size_t queued = 0;
  ssize_t n;
  while (queued < sizeof data && (n = send(big[0], (char*)data + queued, sizeof data - queued > 8192 ? 8192 : sizeof data - queued, 0)) > 0)
    queued += (size_t)n;
  ready();
  wait_for_go();
  expect(pairs[0][1], "firstthe second");
  for (int i = 1; i < 3; i++) expect(pairs[i][1], "first"), expect(pairs[i][1], "the second");
  for (int i = 0; i < 3; i++) {
    expect(pairs[i][0], "back");
    expect_nothing(pairs[i][0]);
    expect_nothing(pairs[i][1]);
    SYS(send(pairs[i][1], "new", 3, 0));
    expect(pairs[i][0], "new");
    CHECK(fcntl(pairs[i][0], F_GETFD) == FD_CLOEXEC, "close-on-exec");
    int type;
    SYS(getsockopt(pairs[i][0], SOL_SOCKET, SO_TYPE, &type, &(socklen_t){sizeof type}));
    CHECK(type == types[i], "type %d became %d", types[i], type);
  }
  expect(half[1], "rest");
  char byte;
  CHECK(recv(half[1], &byte, 1, 0) == 0, "the half-closed pair has no end");
  CHECK(send(half[0], "x", 1, MSG_NOSIGNAL) == -1 && errno == EPIPE, "the closed half takes data");
  SYS(send(half[1], "other way", 9, 0));
  expect(half[0], "other way");
  CHECK(fcntl(half[0], F_GETFL) == (O_RDWR | O_NONBLOCK), "flags");
  expect(orphan[0], "left");
  CHECK(recv(orphan[0], &byte, 1, 0) == 0 && send(orphan[0], "x", 1, MSG_NOSIGNAL) == -1 && errno == EPIPE,
        "the socket without peer has one");
  for (size_t done = 0; done < queued; done += (size_t)n)
    CHECK((n = recv(big[1], (char*)seen + done, queued - done, 0)) > 0, "only %zu of %zu bytes are queued", done, queued);
  check_filled(seen, queued & ~7ul, 1, "queued data");
  expect_nothing(big[1]);
  return 0;
}
