// about: a process forks again and again right after the restore, three generations deep; every child finds all memory

#include "scenario.h"

#define PAGES 4096

static char* area;

static void check(uint64_t step, uint64_t start) {
  for (uint64_t page = start; page < PAGES; page += step) check_filled(area + page * 4096, 4096, page, "page in a new child");
}

static int generation(void* arg) {
  long depth = (long)arg;
  pid_t child = depth < 3 ? spawn(generation, (void*)(depth + 1)) : 0;
  check(7, (uint64_t)depth);
  if (child) join_child(child);
  check(5, (uint64_t)depth);
  return 0;
}

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  area = SYS(mmap(NULL, PAGES * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  for (uint64_t page = 0; page < PAGES; page++) fill(area + page * 4096, 4096, page);
  ready();
  wait_for_go();
  pid_t pids[8];
  for (int i = 0; i < 8; i++) pids[i] = spawn(generation, (void*)1);
  check(1, 0);
  for (int i = 0; i < 8; i++) join_child(pids[i]);
  return 0;
}
