// about: dumpable, no_new_privs and THP disable flags of processes
// no-crit: crit 3.17 does not know the field no_new_privs

#include <sys/prctl.h>

#include "scenario.h"

static int dumpable_child(void* arg) {
  SYS(prctl(PR_SET_DUMPABLE, 0, 0, 0, 0));
  mark("dumpable");
  wait_for_go();
  CHECK(prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0, "dumpable is %d", prctl(PR_GET_DUMPABLE, 0, 0, 0, 0));
  CHECK(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 0, "no_new_privs is set");
  return 0;
}

static int flags_child(void* arg) {
  SYS(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
  SYS(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0));
  mark("flags");
  wait_for_go();
  CHECK(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1, "no_new_privs is lost");
  CHECK(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0) == 1, "THP disable is lost");
  CHECK(prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 1, "dumpable is %d", prctl(PR_GET_DUMPABLE, 0, 0, 0, 0));
  return 0;
}

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  pid_t a = spawn(dumpable_child, NULL), b = spawn(flags_child, NULL);
  await_mark("dumpable");
  await_mark("flags");
  ready();
  wait_for_go();
  join_child(a);
  join_child(b);
  return 0;
}
