// about: epoll: which descriptors with which events and data; edge-triggered, one-shot (armed and spent), nested, duplicated
// differs: fds EPOLL_CTL_ADD always arms ERR and HUP, so that a spent one-shot cannot be had again exactly

#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "scenario.h"

static void add(int epoll, int fd, uint32_t events, uint64_t data) {
  struct epoll_event event = {.events = events, .data.u64 = data};
  SYS(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event));
}

// The events that are ready at once, as a map data → events.
static int ready_events(int epoll, uint64_t* data, uint32_t* events) {
  struct epoll_event list[16];
  int n = SYS(epoll_wait(epoll, list, 16, 0));
  for (int i = 0; i < n; i++) data[i] = list[i].data.u64, events[i] = list[i].events;
  return n;
}

static uint32_t find(int epoll, uint64_t wanted) {
  uint64_t data[16];
  uint32_t events[16];
  int n = ready_events(epoll, data, events);
  for (int i = 0; i < n; i++)
    if (data[i] == wanted) return events[i];
  return 0;
}

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  int epoll = SYS(epoll_create1(EPOLL_CLOEXEC)), outer = SYS(epoll_create1(0)), level[2], once[2], spent[2], edge[2];
  SYS(pipe(level));
  SYS(pipe(once));
  SYS(pipe(spent));
  SYS(pipe(edge));
  int high = SYS(fcntl(level[0], F_DUPFD, 200));
  add(epoll, level[0], EPOLLIN, 0x1111111122222222);
  add(epoll, high, EPOLLIN | EPOLLPRI, 0x3333);
  add(epoll, once[0], EPOLLIN | EPOLLONESHOT, 0x4444);
  add(epoll, spent[0], EPOLLIN | EPOLLONESHOT, 0x5555);
  add(epoll, edge[0], EPOLLIN | EPOLLET | EPOLLRDHUP, 0x6666);
  add(epoll, edge[1], EPOLLOUT | EPOLLET, 0x7777);
  add(outer, epoll, EPOLLIN, 0x8888);
  SYS(write(spent[1], "x", 1));
  CHECK(find(epoll, 0x5555) == EPOLLIN, "one-shot did not fire");
  CHECK(find(epoll, 0x5555) == 0, "one-shot fired twice");
  // A descriptor that is closed while a duplicate keeps its registration alive, the well-known trap of epoll, is in epoll_closed.c.
  ready();
  wait_for_go();
  CHECK(find(epoll, 0x5555) == 0, "the spent one-shot has been armed again");
  CHECK(find(epoll, 0x4444) == 0 && find(epoll, 0x1111111122222222) == 0, "events without cause");
  SYS(write(level[1], "x", 1));
  SYS(write(once[1], "x", 1));
  SYS(write(edge[1], "x", 1));
  CHECK(find(outer, 0x8888) == EPOLLIN, "nested epoll");
  uint64_t data[16];
  uint32_t events[16];
  int n = ready_events(epoll, data, events), in = 0;
  for (int i = 0; i < n; i++) in += data[i] == 0x1111111122222222 || data[i] == 0x3333 || data[i] == 0x4444 || data[i] == 0x6666;
  CHECK(in == 4, "%d of 4 descriptors are reported", in);
  CHECK(find(epoll, 0x4444) == 0, "one-shot fires twice");
  CHECK(find(epoll, 0x6666) == 0, "edge-triggered fires without an edge");
  CHECK(find(epoll, 0x3333) == EPOLLIN, "level-triggered does not stay");
  struct epoll_event event = {.events = EPOLLIN, .data.u64 = 1};
  CHECK(epoll_ctl(epoll, EPOLL_CTL_ADD, level[0], &event) == -1 && errno == EEXIST, "a registered descriptor can be added again");
  CHECK(fcntl(epoll, F_GETFD) == FD_CLOEXEC && fcntl(outer, F_GETFD) == 0, "close-on-exec");
  return 0;
}
