// about: a parent blocked in wait4() is still waiting afterwards and gets the status of its child

#include "scenario.h"

static int child(void* arg) {
  pid_t parent = getppid();
  await_syscall(parent, parent, SYS_wait4);
  ready();
  wait_for_go();
  return 42;
}

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  pid_t pid = spawn(child, NULL);
  int status;
  pid_t got = waitpid(-1, &status, 0);
  CHECK(got == pid, "waitpid gives %d, the child was %d", got, pid);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 42, "wait status %#x", status);
  return 0;
}
