// about: a process in the middle of vfork() is refused
// expect: refused vfork|memory|CLONE_VM|address space

#include "scenario.h"

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  volatile pid_t pid = vfork();
  CHECK(pid >= 0, "vfork");
  if (pid == 0) {
    ready();
    wait_for_go();
    _exit(0);
  }
  join_child(pid);
  return 0;
}
