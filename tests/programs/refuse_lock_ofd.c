// about: an open file description lock is refused without --file-locks
// expect: refused lock

#include "scenario.h"

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  int fd = SYS(open("data", O_RDWR | O_CREAT, 0600)), other = SYS(open("data", O_RDWR));
  struct flock lock = {.l_type = F_WRLCK, .l_start = 10, .l_len = 20};
  SYS(fcntl(fd, F_OFD_SETLK, &lock));
  ready();
  wait_for_go();
  CHECK(fcntl(other, F_OFD_SETLK, &lock) == -1 && errno == EAGAIN, "the lock is gone");
  return 0;
}
