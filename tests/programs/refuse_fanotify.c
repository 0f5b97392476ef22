// about: a fanotify group is refused
// expect: refused fanotify

#include <sys/fanotify.h>

#include "scenario.h"

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  int fd = fanotify_init(FAN_CLASS_NOTIF | FAN_NONBLOCK, O_RDONLY);
  if (fd < 0) skip("no fanotify here: %s", strerror(errno));
  SYS(fanotify_mark(fd, FAN_MARK_ADD, FAN_OPEN, AT_FDCWD, "/etc/passwd"));
  ready();
  wait_for_go();
  close(SYS(open("/etc/passwd", O_RDONLY)));
  char buffer[1024];
  CHECK(read(fd, buffer, sizeof buffer) > 0, "no event");
  return 0;
}
