// about: two processes that share one table of descriptors (CLONE_FILES) are refused
// expect: refused CLONE_FILES|descriptor table|file table|fd table|table of descriptors|descriptors

#include <sched.h>

#include "scenario.h"

static char stack[65536] __attribute__((aligned(16)));

static int child(void* arg) {
  SYS(open("/dev/null", O_RDONLY));
  mark("child");
  wait_for_go();
  await_mark("opened");
  CHECK(fcntl(100, F_GETFD) == 0, "the table is not shared any more");
  return 0;
}

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  pid_t pid = SYS(clone(child, stack + sizeof stack, CLONE_FILES | SIGCHLD, NULL));
  await_mark("child");
  ready();
  wait_for_go();
  SYS(dup2(0, 100));
  mark("opened");
  join_child(pid);
  return 0;
}
