// about: two processes (not threads) that share one address space are refused
// expect: refused memory|CLONE_VM|address space

#include <sched.h>

#include "scenario.h"

static volatile int shared_word;
static char stack[65536] __attribute__((aligned(16)));

static int child(void* arg) {
  shared_word = 1;
  while (shared_word != 2) syscall(SYS_nanosleep, &(struct timespec){0, 10000000}, NULL);
  syscall(SYS_exit, 0);
  return 0;
}

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  pid_t pid = SYS(clone(child, stack + sizeof stack, CLONE_VM | SIGCHLD, NULL));
  while (shared_word != 1) sleep_ms(1);
  ready();
  wait_for_go();
  shared_word = 2;
  join_child(pid);
  return 0;
}
