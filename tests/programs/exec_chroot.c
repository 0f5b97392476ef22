// about: a process whose root directory is not that of the others (chroot)

#include "scenario.h"

static int child(void* arg) {
  SYS(mkdir("jail", 0755));
  SYS(mkdir("jail/inner", 0755));
  SYS(chroot("jail"));
  SYS(chdir("/inner"));
  scenario_dir = "/";
  mark("jailed");
  wait_for_go();
  CHECK(access("/inner", F_OK) == 0 && access("/proc", F_OK) != 0, "the root is another one");
  char cwd[PATH_MAX];
  CHECK(getcwd(cwd, sizeof cwd) && strcmp(cwd, "/inner") == 0, "cwd is %s", cwd);
  return 0;
}

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  pid_t pid = spawn(child, NULL);
  await_mark("jail/jailed");
  ready();
  wait_for_go();
  mark("jail/go");
  join_child(pid);
  return 0;
}
