// about: pages that parent and child share copy-on-write, and have changed on one side only

#include "scenario.h"

#define PAGES 512

static char* map;

static int child(void* arg) {
  for (int page = 0; page < PAGES; page += 3) fill(map + page * 4096, 4096, 7000 + (uint64_t)page);
  mark("child");
  wait_for_go();
  for (int page = 0; page < PAGES; page++)
    check_filled(map + page * 4096, 4096, page % 3 == 0 ? 7000 + (uint64_t)page : (uint64_t)page, "child's page");
  fill(map, 4096, 1);
  return 0;
}

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  map = SYS(mmap(NULL, PAGES * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  for (int page = 0; page < PAGES; page++) fill(map + page * 4096, 4096, (uint64_t)page);
  pid_t pid = spawn(child, NULL);
  await_mark("child");
  for (int page = 0; page < PAGES; page += 5) fill(map + page * 4096, 4096, 9000 + (uint64_t)page);
  ready();
  wait_for_go();
  join_child(pid);
  for (int page = 0; page < PAGES; page++)
    check_filled(map + page * 4096, 4096, page % 5 == 0 ? 9000 + (uint64_t)page : (uint64_t)page, "parent's page");
  return 0;
}
