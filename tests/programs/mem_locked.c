// about: mlock(), mlock2(ONFAULT) and MAP_LOCKED stay in force

#include <sys/mman.h>

#include "scenario.h"

static bool is_locked(void* area) {
  char flags[256];
  smaps_field(area, "VmFlags", flags, sizeof flags);
  return strstr(flags, " lo") != NULL;
}

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  size_t size = 16 * 4096;
  char* areas[4];
  for (int i = 0; i < 4; i++) {
    areas[i] = SYS(mmap(NULL, size * 2, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | (i == 2 ? MAP_LOCKED : 0), -1, 0));
    SYS(mprotect(areas[i] + size, size, PROT_NONE));  // keeps the areas apart
    fill(areas[i], size, (uint64_t)i);
  }
  SYS(mlock(areas[0], size));
  SYS(mlock2(areas[1], size, MLOCK_ONFAULT));
  for (int i = 0; i < 3; i++) CHECK(is_locked(areas[i]), "area %d is not locked to begin with", i);
  ready();
  wait_for_go();
  for (int i = 0; i < 4; i++) {
    check_filled(areas[i], size, (uint64_t)i, "locked area");
    CHECK(is_locked(areas[i]) == (i < 3), "area %d is %slocked", i, is_locked(areas[i]) ? "" : "not ");
  }
  char text[256];
  smaps_field(areas[0], "Locked", text, sizeof text);
  CHECK(atoi(text) >= (int)(size / 1024), "only %s of a locked area of %zu kB are locked", text, size / 1024);
  return 0;
}
