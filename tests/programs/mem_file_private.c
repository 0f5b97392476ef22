// about: private file mappings: own changes are kept, unchanged pages still come from the file

#include "scenario.h"

#define PAGES 64

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  size_t size = PAGES * 4096;
  char* contents = malloc(size);
  fill(contents, size, 1);
  int fd = SYS(open("data", O_RDWR | O_CREAT | O_CLOEXEC, 0644));
  CHECK(write(fd, contents, size) == (ssize_t)size, "write");
  char* map = SYS(mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0));
  char* part = SYS(mmap(NULL, 4096 * 2, PROT_READ, MAP_PRIVATE, fd, 4096 * 20));
  char* beyond =
      SYS(mmap(NULL, 4096 * 4, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 4096 * (PAGES - 2)));  // half of it past the end of the file
  close(fd);
  for (int page = 0; page < PAGES; page += 5) fill(map + page * 4096, 4096, 100 + (uint64_t)page);
  memset(map + 4096 * 7, 0, 4096);  // a zero page of our own, not of the file
  fill(beyond, 4096, 55);
  ready();
  wait_for_go();
  for (int page = 0; page < PAGES; page++) {
    if (page % 5 == 0)
      check_filled(map + page * 4096, 4096, 100 + (uint64_t)page, "changed page");
    else if (page == 7)
      check_zero(map + page * 4096, 4096, "page overwritten with zeros");
    else
      CHECK(memcmp(map + page * 4096, contents + page * 4096, 4096) == 0, "unchanged page %d", page);
  }
  CHECK(memcmp(part, contents + 4096 * 20, 8192) == 0, "second mapping, with an offset");
  check_filled(beyond, 4096, 55, "changed page of the third mapping");
  CHECK(memcmp(beyond + 4096, contents + 4096 * (PAGES - 1), 4096) == 0, "last page of the file");
  fd = SYS(open("data", O_RDWR | O_CLOEXEC));
  SYS(pwrite(fd, "through", 7, 4096 * 21));
  CHECK(memcmp(part + 4096, "through", 7) == 0, "an unchanged page does not follow the file");
  char seen[8];
  CHECK(pread(fd, seen, 8, 0) == 8 && memcmp(seen, contents, 8) == 0, "a private change reached the file");
  return 0;
}
