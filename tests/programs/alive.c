// about: a program that does nothing but wait keeps its pid, parent, group and session

#include "scenario.h"

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  pid_t pid = getpid(), ppid = getppid(), pgrp = getpgrp(), sid = getsid(0);
  ready();
  wait_for_go();
  CHECK(getpid() == pid && syscall(SYS_gettid) == pid, "pid %d became %d, tid %ld", pid, getpid(), syscall(SYS_gettid));
  CHECK(getppid() == ppid, "ppid %d became %d", ppid, getppid());
  CHECK(getpgrp() == pgrp && getsid(0) == sid, "group %d session %d became %d %d", pgrp, sid, getpgrp(), getsid(0));
  return 0;
}
