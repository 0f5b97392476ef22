// about: a pidfd is refused
// expect: refused pidfd

#include "scenario.h"

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  int fd = (int)syscall(SYS_pidfd_open, getpid(), 0);
  if (fd < 0) skip("no pidfd here: %s", strerror(errno));
  ready();
  wait_for_go();
  CHECK(syscall(SYS_pidfd_send_signal, fd, 0, NULL, 0) == 0, "the pidfd is dead");
  return 0;
}
