// about: the main stack, deep in use, keeps its contents and goes on growing

#include "scenario.h"

static uint64_t __attribute__((noinline)) deep(int level, bool wait) {
  volatile uint64_t frame[500];
  for (int i = 0; i < 500; i++) frame[i] = pattern_word((uint64_t)level, (uint64_t)i);
  uint64_t below = 0;
  if (level > 0) {
    below = deep(level - 1, wait);
  } else if (wait) {
    ready();
    wait_for_go();
    deep(500, false);  // further down than ever before
  }
  for (int i = 0; i < 500; i++) CHECK(frame[i] == pattern_word((uint64_t)level, (uint64_t)i), "stack frame %d, word %d", level, i);
  return below + 1;
}

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  CHECK(deep(500, true) == 501, "the depth is wrong");
  return 0;
}
