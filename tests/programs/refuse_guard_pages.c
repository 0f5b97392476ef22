// about: guard pages made with madvise(MADV_GUARD_INSTALL) are refused, as long as they cannot be made again
// expect: refused guard

#include <setjmp.h>
#include <sys/mman.h>

#include "scenario.h"

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif
static sigjmp_buf back;
static void handler(int sig) { siglongjmp(back, 1); }

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  signal(SIGSEGV, handler);
  volatile char* area = SYS(mmap(NULL, 16384, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  if (madvise((void*)(area + 4096), 4096, MADV_GUARD_INSTALL) != 0) skip("no guard pages here: %s", strerror(errno));
  ready();
  wait_for_go();
  if (sigsetjmp(back, 1) == 0) {
    area[5000] = 1;
    FAIL("the guard page can be written");
  }
  area[0] = area[9000] = 1;
  return 0;
}
