// about: oom_score_adj of two processes

#include "scenario.h"

static void set(const char* value) {
  int fd = SYS(open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC));
  SYS(write(fd, value, strlen(value)));
  close(fd);
}

static void check(int wanted) {
  char text[32];
  slurp("/proc/self/oom_score_adj", text, sizeof text);
  CHECK(atoi(text) == wanted, "oom_score_adj is %d, was %d", atoi(text), wanted);
}

static int child(void* arg) {
  set("700");
  mark("child");
  wait_for_go();
  check(700);
  return 0;
}

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  set("321");
  pid_t pid = spawn(child, NULL);
  await_mark("child");
  ready();
  wait_for_go();
  check(321);
  join_child(pid);
  return 0;
}
