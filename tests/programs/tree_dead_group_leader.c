// about: a process keeps its group although the leader of the group has ended

#include "scenario.h"

static pid_t group;

static int leader(void* arg) {
  SYS(setpgid(0, 0));
  mark("leader");
  await_mark("followed");
  return 0;
}

static int follower(void* arg) {
  SYS(setpgid(0, group));
  mark("followed");
  wait_for_go();
  CHECK(getpgrp() == group, "group is %d, was %d", getpgrp(), group);
  return 0;
}

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  group = spawn(leader, NULL);
  await_mark("leader");
  pid_t child = spawn(follower, NULL);
  join_child(group);
  ready();
  wait_for_go();
  CHECK(getpgid(child) == group, "group of the child is %d, was %d", getpgid(child), group);
  CHECK(kill(group, 0) == -1 && errno == ESRCH, "the dead group leader %d has come back", group);
  CHECK(kill(-group, 0) == 0, "nobody is in group %d", group);
  join_child(child);
  return 0;
}
