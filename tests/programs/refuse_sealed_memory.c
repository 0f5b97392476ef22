// about: areas that were sealed with mseal(), which cannot be moved or changed any more, are refused
// expect: refused seal

#include <sys/mman.h>

#include "scenario.h"

#ifndef SYS_mseal
#define SYS_mseal 462
#endif
int main(int argc, char** argv) {
  scenario_init(argc, argv);
  char* area = SYS(mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  if (syscall(SYS_mseal, area, 8192, 0) != 0) skip("no mseal() here: %s", strerror(errno));
  ready();
  wait_for_go();
  CHECK(munmap(area, 8192) == -1 && errno == EPERM, "the seal is broken");
  return 0;
}
