// about: 100 children of one process, each with its own group, answer after the restore and end with their own status

#include "scenario.h"

#define CHILDREN 100

static int child(void* arg) {
  SYS(setpgid(0, 0));
  pid_t pid = getpid(), parent = getppid();
  char name[32];
  snprintf(name, sizeof name, "child%ld", (long)arg);
  mark(name);
  wait_for_go();
  CHECK(getpid() == pid && getpgrp() == pid && getppid() == parent, "%d is %d, group %d", pid, getpid(), getpgrp());
  return (int)(long)arg;
}

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  pid_t pids[CHILDREN];
  for (long i = 0; i < CHILDREN; i++) pids[i] = spawn(child, (void*)i);
  for (int i = 0; i < CHILDREN; i++) {
    char name[32];
    snprintf(name, sizeof name, "child%d", i);
    await_mark(name);
  }
  ready();
  wait_for_go();
  for (int i = 0; i < CHILDREN; i++) {
    int status;
    CHECK(waitpid(pids[i], &status, 0) == pids[i], "child %d (pid %d) cannot be waited for", i, pids[i]);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == i, "child %d ended with %#x", i, status);
  }
  return 0;
}
