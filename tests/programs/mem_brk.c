// about: the heap: end, contents, growing and shrinking

#include "scenario.h"

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  char* mine = SYS(sbrk(1 << 20));
  mine = (char*)(((uintptr_t)mine + 15) & ~15ul);
  fill(mine, 900000, 1);
  char* allocated = malloc(50000);
  fill(allocated, 50000, 2);
  void* end = sbrk(0);
  ready();
  wait_for_go();
  CHECK(sbrk(0) == end && (void*)syscall(SYS_brk, 0) == end, "end of the heap %p became %p", end, (void*)syscall(SYS_brk, 0));
  check_filled(mine, 900000, 1, "heap");
  check_filled(allocated, 50000, 2, "malloc");
  CHECK((void*)syscall(SYS_brk, (char*)end + (1 << 20)) == (char*)end + (1 << 20), "the heap does not grow");
  check_zero((char*)(((uintptr_t)end + 4095) & ~4095ul), 65536, "new heap");
  CHECK((void*)syscall(SYS_brk, end) == end, "the heap does not shrink");
  free(allocated);
  return 0;
}
