// about: a flock() lock is refused without --file-locks
// expect: refused lock

#include <sys/file.h>

#include "scenario.h"

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  int fd = SYS(open("data", O_RDWR | O_CREAT, 0600)), other = SYS(open("data", O_RDWR));
  SYS(flock(fd, LOCK_EX));
  ready();
  wait_for_go();
  CHECK(flock(other, LOCK_EX | LOCK_NB) == -1 && errno == EWOULDBLOCK, "the lock is gone");
  return 0;
}
