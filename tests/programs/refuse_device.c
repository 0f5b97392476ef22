// about: an open device that holds state in its driver (/dev/kmsg) is refused
// expect: refused device|kmsg

#include "scenario.h"

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK);
  if (fd < 0) skip("no /dev/kmsg here: %s", strerror(errno));
  ready();
  wait_for_go();
  CHECK(fcntl(fd, F_GETFD) == 0, "the descriptor is dead");
  return 0;
}
