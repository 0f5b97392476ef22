// about: a child subreaper is one afterwards, and orphans come to it; adopted orphans stay its children

#include <sys/prctl.h>

#include "scenario.h"

static int orphan(void* arg) {
  mark(arg);
  wait_for_go();
  return 9;
}

static int child(void* arg) {
  spawn(orphan, arg);
  await_mark(arg);
  if (strcmp(arg, "late") == 0) {
    mark("late-parent");
    wait_for_go();
  }
  return 0;
}

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  SYS(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0));
  join_child(spawn(child, "early"));  // its orphan is ours already before the dump
  pid_t late = spawn(child, "late");
  await_mark("late-parent");
  ready();
  wait_for_go();
  int set = 0;
  SYS(prctl(PR_GET_CHILD_SUBREAPER, &set, 0, 0, 0));
  CHECK(set == 1, "not a subreaper any more");
  join_child(late);
  for (int i = 0; i < 2; i++) {
    int status;
    CHECK(wait(&status) > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 9, "orphan %d: %#x", i, status);
  }
  return 0;
}
