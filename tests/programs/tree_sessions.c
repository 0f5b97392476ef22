// about: a session leader, a member of its session, a group leader and a member of its group keep their ids

#include "scenario.h"

static pid_t group_leader;

static void stay(const char* name) {
  pid_t pgrp = getpgrp(), sid = getsid(0);
  mark(name);
  wait_for_go();
  CHECK(getpgrp() == pgrp && getsid(0) == sid, "%s: group %d session %d became %d %d", name, pgrp, sid, getpgrp(), getsid(0));
}

static int member(void* arg) { return stay("member"), 0; }

static int session(void* arg) {
  SYS(setsid());
  pid_t child = spawn(member, NULL);
  await_mark("member");
  stay("session");
  join_child(child);
  return 0;
}

static int leader(void* arg) {
  SYS(setpgid(0, 0));
  return stay("leader"), 0;
}

static int follower(void* arg) {
  SYS(setpgid(0, group_leader));
  return stay("follower"), 0;
}

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  pid_t a = spawn(session, NULL);
  pid_t b = group_leader = spawn(leader, NULL);
  await_mark("leader");
  pid_t c = spawn(follower, NULL);
  await_mark("session");
  await_mark("follower");
  ready();
  wait_for_go();
  CHECK(getsid(a) == a && getpgid(b) == b && getpgid(c) == b, "session %d, groups %d %d", getsid(a), getpgid(b), getpgid(c));
  join_child(a);
  join_child(b);
  join_child(c);
  return 0;
}
