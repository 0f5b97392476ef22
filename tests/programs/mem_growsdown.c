// about: a MAP_GROWSDOWN area keeps its place and contents and goes on growing

#include "scenario.h"

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  // Room below, so that the area can grow.
  char* room = SYS(mmap(NULL, 256 * 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  SYS(munmap(room, 256 * 4096));
  char* area =
      SYS(mmap(room + 250 * 4096, 4 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN | MAP_FIXED, -1, 0));
  fill(area, 4 * 4096, 1);
  fill(area - 4096, 4096, 2);  // grows
  ready();
  wait_for_go();
  check_filled(area, 4 * 4096, 1, "area");
  check_filled(area - 4096, 4096, 2, "grown page");
  for (int page = 2; page < 20; page++) fill(area - page * 4096, 4096, (uint64_t)page);
  for (int page = 2; page < 20; page++) check_filled(area - page * 4096, 4096, (uint64_t)page, "page grown afterwards");
  return 0;
}
