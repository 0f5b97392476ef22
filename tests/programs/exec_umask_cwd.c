// about: umask and current directory of two processes

#include "scenario.h"

static void check(const char* cwd, mode_t mask) {
  char seen[PATH_MAX];
  CHECK(getcwd(seen, sizeof seen) && strcmp(seen, cwd) == 0, "cwd \"%s\" became \"%s\"", cwd, seen);
  mode_t now = umask(0);
  CHECK(now == mask, "umask %o became %o", mask, now);
}

static int child(void* arg) {
  const char* dir = path_in("a/b");
  SYS(mkdir(path_in("a"), 0755));
  SYS(mkdir(dir, 0700));
  SYS(chdir(dir));
  umask(0137);
  mark("child");
  wait_for_go();
  check(dir, 0137);
  return 0;
}

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  umask(0);
  SYS(chdir("/proc"));
  pid_t pid = spawn(child, NULL);
  await_mark("child");
  ready();
  wait_for_go();
  check("/proc", 0);
  join_child(pid);
  return 0;
}
