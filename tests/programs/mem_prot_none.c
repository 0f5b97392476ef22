// about: contents below PROT_NONE survive, and PROT_NONE, write-only-once and execute permissions hold

#include <setjmp.h>

#include "scenario.h"

static sigjmp_buf back;

static void handler(int sig) { siglongjmp(back, 1); }

static bool faults(volatile char* address, bool write) {
  if (sigsetjmp(back, 1)) return true;
  if (write)
    *address = 1;
  else
    (void)*address;
  return false;
}

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  struct sigaction action = {.sa_handler = handler};
  SYS(sigaction(SIGSEGV, &action, NULL));
  size_t size = 64 * 4096;
  char* hidden = SYS(mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  char* reserved = SYS(mmap(NULL, 1ul << 36, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  char* constant = SYS(mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  fill(hidden, size, 1);
  fill(constant, size, 2);
  SYS(mprotect(hidden, size, PROT_NONE));
  SYS(mprotect(constant, size, PROT_READ));
  ready();
  wait_for_go();
  CHECK(faults(hidden + 5000, false) && faults(hidden + 5000, true), "the PROT_NONE area can be used");
  CHECK(faults(reserved + (1ul << 35), false), "the reserved area can be read");
  CHECK(faults(constant + 8192, true) && !faults(constant + 8192, false), "the read-only area can be written");
  SYS(mprotect(hidden, size, PROT_READ | PROT_WRITE));
  check_filled(hidden, size, 1, "contents below PROT_NONE");
  check_filled(constant, size, 2, "read-only area");
  SYS(mprotect(reserved + 4096, 4096, PROT_READ | PROT_WRITE));
  check_zero(reserved + 4096, 4096, "reserved area");
  return 0;
}
