// about: shared memory that is mapped a second time in part, by mremap(2) from a length of 0, before its pages have come
// lazy-options: --prefetch none

#include "scenario.h"

#define PAGE 4096L
#define PAGES 16
#define SECOND 4

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  // The second place is below the first, with nothing behind it.
  char* room = SYS(mmap(NULL, 64 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  SYS(munmap(room, 64 * PAGE));
  char* area = SYS(mmap(room + 40 * PAGE, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0));
  fill(area, PAGES * PAGE, 7);
  ready();
  wait_for_go();
  char* second = SYS(mremap(area, 0, SECOND * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, room + 8 * PAGE));
  check_filled(second, SECOND * PAGE, 7, "the second place");
  check_filled(area, PAGES * PAGE, 7, "the first place");
  second[0]++;
  CHECK(second[0] == area[0], "the two places are not the same memory");
  return 0;
}
