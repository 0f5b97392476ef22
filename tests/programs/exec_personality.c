// about: personality flags (no address randomization, short inode numbers, ...) of two processes

#include <sys/personality.h>

#include "scenario.h"

static int child(void* arg) {
  SYS(personality(ADDR_COMPAT_LAYOUT | MMAP_PAGE_ZERO | UNAME26));
  mark("child");
  wait_for_go();
  CHECK(personality(0xffffffff) == (ADDR_COMPAT_LAYOUT | MMAP_PAGE_ZERO | UNAME26), "personality is %#x", personality(0xffffffff));
  return 0;
}

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  SYS(personality(ADDR_NO_RANDOMIZE | STICKY_TIMEOUTS));
  pid_t pid = spawn(child, NULL);
  await_mark("child");
  ready();
  wait_for_go();
  CHECK(personality(0xffffffff) == (ADDR_NO_RANDOMIZE | STICKY_TIMEOUTS), "personality is %#x", personality(0xffffffff));
  join_child(pid);
  return 0;
}
