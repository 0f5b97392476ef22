// about: which descriptors are one open file: duplicates, inherited by a child, opened twice; close-on-exec is per descriptor

#include <linux/kcmp.h>

#include "scenario.h"

static bool same(pid_t a, int fd_a, pid_t b, int fd_b) { return syscall(SYS_kcmp, a, b, KCMP_FILE, fd_a, fd_b) == 0; }

static int fd, copy, twin;

static int child(void* arg) {
  int own = SYS(open("data", O_RDONLY));
  CHECK(own == twin + 1, "descriptor %d", own);
  SYS(close(copy));
  mark("child");
  wait_for_go();
  await_mark("moved");
  CHECK(lseek(fd, 0, SEEK_CUR) == 77, "the child's descriptor is at %ld", (long)lseek(fd, 0, SEEK_CUR));
  CHECK(lseek(own, 0, SEEK_CUR) == 0, "the child's own descriptor is at %ld", (long)lseek(own, 0, SEEK_CUR));
  CHECK(fcntl(copy, F_GETFD) == -1 && errno == EBADF, "the closed descriptor %d is there", copy);
  return 0;
}

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  fd = SYS(open("data", O_RDWR | O_CREAT, 0600));
  copy = SYS(fcntl(fd, F_DUPFD_CLOEXEC, 10));
  twin = SYS(open("data", O_RDWR | O_CLOEXEC));
  SYS(dup2(twin, 100));
  pid_t pid = spawn(child, NULL), self = getpid();
  await_mark("child");
  ready();
  wait_for_go();
  CHECK(same(self, fd, self, copy) && same(self, twin, self, 100) && !same(self, fd, self, twin), "own descriptors");
  CHECK(same(self, fd, pid, fd) && same(self, twin, pid, 100), "inherited descriptors are not shared any more");
  CHECK(!same(self, twin, pid, twin + 1) && !same(self, fd, pid, twin + 1), "two openings became one");
  CHECK(same(self, 1, self, 2) && same(self, 1, pid, 2), "stdout and stderr are not one open file any more");
  CHECK(fcntl(fd, F_GETFD) == 0 && fcntl(copy, F_GETFD) == FD_CLOEXEC && fcntl(twin, F_GETFD) == FD_CLOEXEC && fcntl(100, F_GETFD) == 0,
        "close-on-exec");
  SYS(lseek(copy, 77, SEEK_SET));
  mark("moved");
  join_child(pid);
  return 0;
}
