// about: the signal a process wants when its parent dies (PR_SET_PDEATHSIG), also after a restore

#include <sys/prctl.h>

#include "scenario.h"

static int grandchild(void* arg) {
  sigset_t set;
  siginfo_t info;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  SYS(sigprocmask(SIG_BLOCK, &set, NULL));
  SYS(prctl(PR_SET_PDEATHSIG, SIGUSR1, 0, 0, 0));
  mark("set");
  wait_for_go();
  int sig = 0;
  SYS(prctl(PR_GET_PDEATHSIG, &sig, 0, 0, 0));
  CHECK(sig == SIGUSR1, "pdeath signal is %d", sig);
  CHECK(sigwaitinfo(&set, &info) == SIGUSR1, "no SIGUSR1 at the parent's death");
  mark("told");
  return 0;
}

static int child(void* arg) {
  spawn(grandchild, NULL);
  await_mark("set");
  mark("child");
  wait_for_go();
  return 0;
}

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  SYS(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0));
  pid_t pid = spawn(child, NULL);
  await_mark("child");
  ready();
  wait_for_go();
  join_child(pid);
  await_mark("told");
  int status;
  CHECK(wait(&status) > 0 && status == 0, "the grandchild ended with %#x", status);
  return 0;
}
