// about: shared anonymous memory, a memfd and one without a descriptor (16 MiB each), touched first by one process, then by the other, in opposite orders

#include <sys/mman.h>

#include "scenario.h"

#define PAGES 4096

#define AREAS 3

static char* areas[AREAS];

static int child(void* arg) {
  mark("child");
  wait_for_go();
  for (int page = PAGES - 1; page >= 0; page--)
    for (int i = 0; i < AREAS; i++) check_filled(areas[i] + page * 4096, 4096, (uint64_t)(page + i), "child's view");
  return 0;
}

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  int fd = SYS(memfd_create("big", MFD_CLOEXEC));
  SYS(ftruncate(fd, PAGES * 4096));
  areas[0] = SYS(mmap(NULL, PAGES * 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  areas[1] = SYS(mmap(NULL, PAGES * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
  int closed = SYS(memfd_create("closed", MFD_CLOEXEC));
  SYS(ftruncate(closed, PAGES * 4096));
  areas[2] = SYS(mmap(NULL, PAGES * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, closed, 0));
  SYS(close(closed));
  for (int page = 0; page < PAGES; page++)
    for (int i = 0; i < AREAS; i++) fill(areas[i] + page * 4096, 4096, (uint64_t)(page + i));
  pid_t pid = spawn(child, NULL);
  await_mark("child");
  ready();
  wait_for_go();
  for (int page = 0; page < PAGES; page++)
    for (int i = 0; i < AREAS; i++) check_filled(areas[i] + page * 4096, 4096, (uint64_t)(page + i), "parent's view");
  static char block[4096];
  for (int page = 0; page < PAGES; page += 64) {
    CHECK(pread(fd, block, 4096, page * 4096) == 4096, "pread of the memfd");
    check_filled(block, 4096, (uint64_t)(page + 1), "memfd by read()");
  }
  join_child(pid);
  return 0;
}
