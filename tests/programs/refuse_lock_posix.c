// about: a POSIX record lock is refused without --file-locks
// expect: refused lock

#include "scenario.h"

static int child(void* arg) {
  int fd = SYS(open("data", O_RDWR));
  struct flock lock = {.l_type = F_WRLCK, .l_start = 10, .l_len = 20};
  CHECK(fcntl(fd, F_SETLK, &lock) == -1 && (errno == EAGAIN || errno == EACCES), "the lock is gone");
  return 0;
}

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  int fd = SYS(open("data", O_RDWR | O_CREAT, 0600));
  struct flock lock = {.l_type = F_WRLCK, .l_start = 10, .l_len = 20};
  SYS(fcntl(fd, F_SETLK, &lock));
  ready();
  wait_for_go();
  join_child(spawn(child, NULL));
  return 0;
}
