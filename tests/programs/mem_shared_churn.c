// about: shared memory that is moved, duplicated, given back, unmapped and inherited while its contents are still to come

#include <sys/mman.h>

#include "scenario.h"

#define PAGES 2048
#define PAGE 4096

static char* area;

static void check_page(char* at, int page, const char* who) { check_filled(at, PAGE, (uint64_t)page, who); }

static int child(void* arg) {
  // The inherited half, from the end.
  for (int page = PAGES - 1; page >= PAGES / 2; page--) check_page(area + page * PAGE, page, "inherited");
  return 0;
}

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  area = SYS(mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  for (int page = 0; page < PAGES; page++) fill(area + page * PAGE, PAGE, (uint64_t)page);
  ready();
  wait_for_go();
  // Giving pages of a shared mapping back keeps the contents of the object.
  SYS(madvise(area + 64 * PAGE, 64 * PAGE, MADV_DONTNEED));
  pid_t pid = spawn(child, NULL);
  char* copy = SYS(mremap(area, 0, PAGES * PAGE, MREMAP_MAYMOVE));
  for (int page = 0; page < 256; page++) check_page(copy + page * PAGE, page, "duplicate");
  SYS(munmap(copy, 128 * PAGE));
  char* place = SYS(mmap(NULL, PAGES * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  char* moved = SYS(mremap(area + 256 * PAGE, 256 * PAGE, 256 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, place));
  for (int page = 511; page >= 256; page--) {
    check_page(moved + (page - 256) * PAGE, page, "moved");
    check_page(copy + page * PAGE, page, "duplicate of what was moved");
  }
  for (int page = 512; page < 1024; page += 3) {
    // What one view writes the other one sees, and nothing that arrives later covers it.
    fill(copy + page * PAGE, PAGE, (uint64_t)(page + 7));
    check_page(area + page * PAGE, page + 7, "written through the duplicate");
  }
  join_child(pid);
  for (int page = PAGES - 1; page >= 512; page--) check_page(area + page * PAGE, page < 1024 && (page - 512) % 3 == 0 ? page + 7 : page, "at the end");
  return 0;
}
