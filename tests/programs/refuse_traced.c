// about: a process that another one traces is refused
// expect: refused trac

#include <sys/ptrace.h>

#include "scenario.h"

static int traced(void* arg) {
  mark("traced");
  await_mark("detached");
  return 0;
}

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  pid_t pid = spawn(traced, NULL);
  await_mark("traced");
  SYS(ptrace(PTRACE_SEIZE, pid, 0, 0));
  ready();
  wait_for_go();
  SYS(ptrace(PTRACE_INTERRUPT, pid, 0, 0));
  int status;
  CHECK(waitpid(pid, &status, 0) == pid && WIFSTOPPED(status), "we are not the tracer any more");
  SYS(ptrace(PTRACE_DETACH, pid, 0, 0));
  mark("detached");
  join_child(pid);
  return 0;
}
