// about: a child in a pid namespace of its own is refused
// expect: refused pid.*namespace|namespace.*pid

#include "scenario.h"

static int child(void* arg) {
  mark("child");
  CHECK(getpid() == 1, "pid %d", getpid());
  wait_for_go();
  return 0;
}

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  if (unshare(CLONE_NEWPID) != 0) skip("no pid namespaces here");
  pid_t pid = spawn(child, NULL);
  await_mark("child");
  ready();
  wait_for_go();
  join_child(pid);
  return 0;
}
