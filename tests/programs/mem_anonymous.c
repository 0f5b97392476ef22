// about: private anonymous memory: full, sparse, read-only, touched with zeros, never touched; contents exact to the byte

#include "scenario.h"

#define PAGES 2048
#define BYTES (PAGES * 4096ul)

static void* map(int prot) { return SYS(mmap(NULL, BYTES, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)); }

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  char *full = map(PROT_READ | PROT_WRITE), *sparse = map(PROT_READ | PROT_WRITE), *constant = map(PROT_READ | PROT_WRITE);
  char *zeros = map(PROT_READ | PROT_WRITE), *never = map(PROT_READ | PROT_WRITE), *read_only_zero = map(PROT_READ);
  fill(full, BYTES, 1);
  for (size_t page = 0; page < PAGES; page += 7) fill(sparse + page * 4096, 4096, page);
  fill(constant, BYTES, 2);
  SYS(mprotect(constant, BYTES, PROT_READ));
  memset(zeros, 0, BYTES);
  volatile char touched = 0;
  for (size_t page = 0; page < PAGES; page++) touched += read_only_zero[page * 4096];  // maps the zero page
  ready();
  wait_for_go();
  // Backwards, so that a lazy restore that reads ahead cannot hide behind its order.
  for (long page = PAGES - 1; page >= 0; page--) {
    if (page % 7 == 0)
      check_filled(sparse + page * 4096, 4096, (uint64_t)page, "sparse area");
    else
      check_zero(sparse + page * 4096, 4096, "hole of the sparse area");
  }
  check_filled(full, BYTES, 1, "full area");
  check_filled(constant, BYTES, 2, "read-only area");
  check_zero(zeros, BYTES, "area of zeros");
  check_zero(never, BYTES, "area never touched");
  check_zero(read_only_zero, BYTES, "read-only area never written");
  fill(never, BYTES, 3);
  check_filled(never, BYTES, 3, "area never touched, once written");
  return touched;
}
