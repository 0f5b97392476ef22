// about: a stopped child stays stopped, and goes on with SIGCONT
// differs: stat.exit_code the restored stop is reported to the parent anew: the image format does not tell that it has been already

#include "scenario.h"

static int body(void* arg) {
  raise(SIGSTOP);
  return 5;
}

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  pid_t child = spawn(body, NULL);
  int status;
  CHECK(waitpid(child, &status, WUNTRACED) == child && WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP, "not stopped: %#x", status);
  ready();
  wait_for_go();
  CHECK(task_state(child, 0) == 'T', "the stopped child is in state %c", task_state(child, 0));
  SYS(kill(child, SIGCONT));
  CHECK(waitpid(child, &status, 0) == child, "child cannot be waited for");
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 5, "child ended with %#x", status);
  return 0;
}
