// about: a pipe whose other end is held by a process outside the tree is refused
// expect: refused pipe

#include "scenario.h"

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  int ends[2];
  SYS(pipe(ends));
  pid_t outer = SYS(fork());
  if (outer == 0) {
    if (SYS(fork()) > 0) _exit(0);
    setsid();
    close(ends[0]);
    mark("outside");
    wait_for_go();
    SYS(write(ends[1], "hello", 5));
    _exit(0);
  }
  join_child(outer);
  close(ends[1]);
  await_mark("outside");
  ready();
  wait_for_go();
  char seen[8];
  CHECK(read(ends[0], seen, sizeof seen) == 5, "the pipe is dead");
  return 0;
}
