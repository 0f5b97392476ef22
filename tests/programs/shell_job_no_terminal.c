// about: a program in an outside session without a terminal (started by a script): --shell-job
// options: --shell-job
// session: outside

#include "scenario.h"

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  pid_t sid = getsid(0), pgrp = getpgrp();
  CHECK(sid != getpid() && pgrp != getpid(), "the runner has given us a session of our own");
  ready();
  wait_for_go();
  CHECK(getsid(0) == sid && getpgrp() == pgrp, "session %d group %d became %d %d", sid, pgrp, getsid(0), getpgrp());
  return 0;
}
