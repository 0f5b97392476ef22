// about: a chain of 12 generations with a leaf at every level: pids, parents, groups and the ends of children

#include "scenario.h"

#define DEPTH 12

static int leaf(void* arg) {
  pid_t parent = getppid(), pid = getpid();
  mark(arg);
  wait_for_go();
  CHECK(getpid() == pid && getppid() == parent, "leaf %d of %d became %d of %d", pid, parent, getpid(), getppid());
  return 0;
}

static int level(void* arg) {
  long depth = (long)arg;
  pid_t parent = getppid(), pid = getpid(), next = 0;
  char name[32];
  snprintf(name, sizeof name, "leaf%ld", depth);
  pid_t child = spawn(leaf, name);
  await_mark(name);
  if (depth < DEPTH) next = spawn(level, (void*)(depth + 1));
  snprintf(name, sizeof name, "level%ld", depth);
  mark(name);
  wait_for_go();
  CHECK(getpid() == pid && getppid() == parent, "level %ld: %d of %d became %d of %d", depth, pid, parent, getpid(), getppid());
  join_child(child);
  if (next) join_child(next);
  CHECK(waitpid(-1, NULL, 0) == -1 && errno == ECHILD, "level %ld has children it never made", depth);
  return 0;
}

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  pid_t child = spawn(level, (void*)1);
  char name[32];
  for (int i = 1; i <= DEPTH; i++) {
    snprintf(name, sizeof name, "level%d", i);
    await_mark(name);
  }
  ready();
  wait_for_go();
  join_child(child);
  return 0;
}
