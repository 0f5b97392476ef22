// about: a process in the middle of vfork() is refused
// expect: refused vfork
// timeout: 8
// shorter than the --timeout of a dump, because this can be seen without waiting so long

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
