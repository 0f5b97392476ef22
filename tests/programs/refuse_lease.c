// about: a file lease is refused
// expect: refused lease|lock

#include "scenario.h"

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  close(SYS(open("data", O_RDWR | O_CREAT, 0600)));
  int fd = SYS(open("data", O_RDONLY));
  if (fcntl(fd, F_SETLEASE, F_RDLCK) != 0) skip("no leases on this file system: %s", strerror(errno));
  ready();
  wait_for_go();
  CHECK(fcntl(fd, F_GETLEASE) == F_RDLCK, "the lease is gone");
  return 0;
}
