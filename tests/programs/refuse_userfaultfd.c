// about: a userfaultfd of the program itself is refused, and its areas go on faulting
// expect: refused userfaultfd

#include <linux/userfaultfd.h>
#include <sys/ioctl.h>

#include "scenario.h"

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  int fd = (int)syscall(SYS_userfaultfd, O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) skip("no userfaultfd here: %s", strerror(errno));
  struct uffdio_api api = {.api = UFFD_API};
  SYS(ioctl(fd, UFFDIO_API, &api));
  char* area = SYS(mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  struct uffdio_register reg = {.range = {(uintptr_t)area, 65536}, .mode = UFFDIO_REGISTER_MODE_MISSING};
  SYS(ioctl(fd, UFFDIO_REGISTER, &reg));
  ready();
  wait_for_go();
  struct uffdio_zeropage zero = {.range = {(uintptr_t)area, 65536}};
  CHECK(ioctl(fd, UFFDIO_ZEROPAGE, &zero) == 0 && area[100] == 0, "the area is not registered any more");
  return 0;
}
