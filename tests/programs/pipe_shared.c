// about: pipes between parent and child in both directions; the end comes when the last writer closes, not before

#include "scenario.h"

static int down[2], up[2];

static int child(void* arg) {
  char text[32];
  SYS(close(down[1]));
  SYS(close(up[0]));
  mark("child");
  CHECK(read(down[0], text, sizeof text) == 4 && memcmp(text, "ping", 4) == 0, "the child reads \"%.4s\"", text);
  SYS(write(up[1], "pong", 4));
  CHECK(read(down[0], text, sizeof text) == 0, "no end");
  return 0;
}

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  SYS(pipe(down));
  SYS(pipe(up));
  pid_t pid = spawn(child, NULL);
  SYS(close(down[0]));
  SYS(close(up[1]));
  await_mark("child");
  await_syscall(pid, pid, SYS_read);
  int copy = SYS(dup(down[1]));
  ready();
  wait_for_go();
  char text[32];
  SYS(write(down[1], "ping", 4));
  CHECK(read(up[0], text, sizeof text) == 4 && memcmp(text, "pong", 4) == 0, "the parent reads \"%.4s\"", text);
  SYS(close(down[1]));
  CHECK(task_state(pid, 0) != 'Z', "the end came before the last writer closed");
  SYS(close(copy));
  join_child(pid);
  CHECK(read(up[0], text, sizeof text) == 0, "no end of the upward pipe");
  return 0;
}
