// about: secret memory (memfd_secret), which nobody else can read, is refused
// expect: refused secretmem|memfd_secret|secret

#include "scenario.h"

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  int fd = (int)syscall(SYS_memfd_secret, 0);
  if (fd < 0) skip("no secret memory here: %s", strerror(errno));
  SYS(ftruncate(fd, 8192));
  char* area = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (area == MAP_FAILED) skip("secret memory cannot be mapped here: %s", strerror(errno));
  fill(area, 8192, 1);
  ready();
  wait_for_go();
  check_filled(area, 8192, 1, "secret memory");
  return 0;
}
