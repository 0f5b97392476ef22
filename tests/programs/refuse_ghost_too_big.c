// about: a deleted file larger than --ghost-limit is refused, with the option named
// expect: refused ghost-limit

#include "scenario.h"

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  int fd = SYS(open("data", O_RDWR | O_CREAT, 0600));
  static uint64_t block[1 << 16];
  fill(block, sizeof block, 1);
  for (int i = 0; i < 6; i++) SYS(write(fd, block, sizeof block));
  SYS(unlink("data"));
  ready();
  wait_for_go();
  CHECK(pread(fd, block, sizeof block, 5 * sizeof block) == sizeof block, "the file is too short");
  check_filled(block, sizeof block, 1, "deleted file");
  return 0;
}
