// about: an io_uring is refused, and goes on working
// expect: refused io_uring

#include <linux/io_uring.h>

#include "scenario.h"

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  struct io_uring_params params = {0};
  int fd = (int)syscall(SYS_io_uring_setup, 8, &params);
  if (fd < 0) skip("no io_uring here: %s", strerror(errno));
  ready();
  wait_for_go();
  CHECK(syscall(SYS_io_uring_enter, fd, 0, 0, 0, NULL, 0) == 0, "io_uring_enter");
  return 0;
}
