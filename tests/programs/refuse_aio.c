// about: a kernel aio context (io_setup) is refused
// expect: refused aio|asynchronous

#include <linux/aio_abi.h>

#include "scenario.h"

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  aio_context_t context = 0;
  if (syscall(SYS_io_setup, 8, &context) != 0) skip("no aio here: %s", strerror(errno));
  ready();
  wait_for_go();
  CHECK(syscall(SYS_io_destroy, context) == 0, "the context is gone");
  return 0;
}
