// about: an open file whose own name was deleted, but which has another link, is refused without --link-remap
// expect: refused link-remap

#include "scenario.h"

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  int fd = SYS(open("data", O_RDWR | O_CREAT, 0600));
  SYS(write(fd, "contents", 8));
  SYS(link("data", "other name"));
  SYS(unlink("data"));
  ready();
  wait_for_go();
  char seen[16];
  CHECK(pread(fd, seen, sizeof seen, 0) == 8, "the file is too short");
  return 0;
}
