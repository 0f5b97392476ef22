// about: one epoll in two processes; the child waits in it, the parent makes the event

#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "scenario.h"

static int epoll, event;

static int child(void* arg) {
  mark("child");
  struct epoll_event got;
  int n;
  // Unlike read() and poll(), epoll_wait() ends with EINTR after a stop also without us (signal(7)).
  while ((n = epoll_wait(epoll, &got, 1, -1)) == -1 && errno == EINTR) {
  }
  CHECK(n == 1 && got.data.u32 == 77, "epoll_wait gives %d, data %u", n, got.data.u32);
  return 0;
}

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  epoll = SYS(epoll_create1(0));
  event = SYS(eventfd(0, 0));
  SYS(epoll_ctl(epoll, EPOLL_CTL_ADD, event, &(struct epoll_event){.events = EPOLLIN, .data.u32 = 77}));
  pid_t pid = spawn(child, NULL);
  await_mark("child");
  await_syscall(pid, pid, SYS_epoll_wait);
  ready();
  wait_for_go();
  SYS(write(event, &(uint64_t){1}, 8));
  join_child(pid);
  return 0;
}
