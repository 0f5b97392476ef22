// about: mappings of a file that was deleted: shared and private, contents and changes, still one file

#include "scenario.h"

#define SIZE (16 * 4096)

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  int fd = SYS(open("data", O_RDWR | O_CREAT | O_CLOEXEC, 0644));
  char* contents = malloc(SIZE);
  fill(contents, SIZE, 1);
  CHECK(write(fd, contents, SIZE) == SIZE, "write");
  char* shared = SYS(mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
  char* private = SYS(mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0));
  SYS(unlink("data"));
  close(fd);
  fill(shared + 4096, 4096, 2);
  fill(private + 8192, 4096, 3);
  ready();
  wait_for_go();
  CHECK(memcmp(shared, contents, 4096) == 0, "first page");
  check_filled(shared + 4096, 4096, 2, "shared page");
  check_filled(private + 4096, 4096, 2, "shared page seen through the private mapping");
  check_filled(private + 8192, 4096, 3, "private page");
  CHECK(memcmp(shared + 8192, contents + 8192, 4096) == 0, "a private change is in the shared mapping");
  shared[5 * 4096] = 'X';
  CHECK(private[5 * 4096] == 'X', "the two mappings are not of one file any more");
  CHECK(access("data", F_OK) == -1, "the deleted file is back");
  return 0;
}
