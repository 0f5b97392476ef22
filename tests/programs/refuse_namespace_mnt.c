// about: a child in a mnt namespace of its own is refused
// expect: refused (mnt|mount).*namespace|namespace.*(mnt|mount)

#include "scenario.h"

static int child(void* arg) {
  if (unshare(CLONE_NEWNS) != 0) {
    mark("impossible");
    return 0;
  }
  char before[64] = "", after[64] = "";
  SYS(readlink("/proc/self/ns/mnt", before, sizeof before - 1));
  mark("child");
  wait_for_go();
  SYS(readlink("/proc/self/ns/mnt", after, sizeof after - 1));
  CHECK(strcmp(before, after) == 0, "namespace %s became %s", before, after);
  return 0;
}

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  pid_t pid = spawn(child, NULL);
  while (!has_mark("child"))
    if (has_mark("impossible"))
      skip("no mnt namespaces here");
    else
      sleep_ms(1);
  ready();
  wait_for_go();
  join_child(pid);
  return 0;
}
