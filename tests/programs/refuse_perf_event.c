// about: a perf event descriptor is refused
// expect: refused perf_event|perf

#include <linux/perf_event.h>

#include "scenario.h"

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  struct perf_event_attr attr = {.type = PERF_TYPE_SOFTWARE, .size = sizeof attr, .config = PERF_COUNT_SW_TASK_CLOCK};
  int fd = (int)syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0);
  if (fd < 0) skip("no perf events here: %s", strerror(errno));
  ready();
  wait_for_go();
  uint64_t value;
  CHECK(read(fd, &value, 8) == 8, "the counter is dead");
  return 0;
}
