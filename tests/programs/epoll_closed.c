// about: a registration in epoll whose descriptor was closed, but lives on through a duplicate: not to be had back through the interface,
// so refused expect: refused epoll

#include <sys/epoll.h>

#include "scenario.h"

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  int epoll = SYS(epoll_create1(0)), ends[2];
  SYS(pipe(ends));
  int copy = SYS(fcntl(ends[0], F_DUPFD, 50));
  SYS(epoll_ctl(epoll, EPOLL_CTL_ADD, ends[0], &(struct epoll_event){.events = EPOLLIN, .data.u32 = 5}));
  SYS(close(ends[0]));
  ready();
  wait_for_go();
  SYS(write(ends[1], "x", 1));
  struct epoll_event got;
  CHECK(epoll_wait(epoll, &got, 1, 0) == 1 && got.data.u32 == 5, "the registration is lost");
  CHECK(fcntl(copy, F_GETFD) == 0, "the duplicate is lost");
  return 0;
}
