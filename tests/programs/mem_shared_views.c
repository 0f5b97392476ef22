// about: two processes see different parts of one shared anonymous area at different addresses; private pages over a shared one

#include <sys/mman.h>

#include "scenario.h"

#define PAGES 64

static char* map;

static int child(void* arg) {
  // Keep only the second half, at another address.
  char* moved = SYS(mremap(map + PAGES / 2 * 4096, PAGES / 2 * 4096, PAGES / 2 * 4096, MREMAP_MAYMOVE | MREMAP_FIXED,
                           mmap(NULL, PAGES / 2 * 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)));
  SYS(munmap(map, PAGES / 2 * 4096));
  moved[0] = 'c';
  mark("child");
  wait_for_go();
  while (*(volatile char*)(moved + 1) != 'p') sleep_ms(2);
  CHECK(moved[0] == 'c', "own byte");
  moved[2] = 'C';
  return 0;
}

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  map = SYS(mmap(NULL, PAGES * 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  fill(map, PAGES / 2 * 4096, 1);
  char* half = map + PAGES / 2 * 4096;
  pid_t pid = spawn(child, NULL);
  await_mark("child");
  ready();
  wait_for_go();
  check_filled(map, PAGES / 2 * 4096, 1, "part that only the parent sees");
  CHECK(half[0] == 'c', "the child's byte is %d", half[0]);
  half[1] = 'p';
  while (*(volatile char*)(half + 2) != 'C') sleep_ms(2);
  join_child(pid);
  return 0;
}
