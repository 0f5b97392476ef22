// about: an area of huge pages (hugetlbfs) is refused, as long as it is not built
// expect: refused hugetlb

#include <sys/mman.h>

#include "scenario.h"

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  void* area = mmap(NULL, 2 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_NORESERVE, -1, 0);
  if (area == MAP_FAILED) skip("no huge pages here: %s", strerror(errno));
  ready();
  wait_for_go();
  CHECK(munmap(area, 2 << 20) == 0, "the area is gone");
  return 0;
}
