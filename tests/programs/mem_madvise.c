// about: madvise() flags of areas: DONTFORK, DONTDUMP, WIPEONFORK, HUGEPAGE, NOHUGEPAGE, SEQUENTIAL, RANDOM, MERGEABLE

#include <sys/mman.h>

#include "scenario.h"

static const int advice[] = {MADV_DONTFORK,   MADV_DONTDUMP,   MADV_WIPEONFORK, MADV_HUGEPAGE,
                             MADV_NOHUGEPAGE, MADV_SEQUENTIAL, MADV_RANDOM,     MADV_MERGEABLE};
static const char* const flag[] = {"dc", "dd", "wf", "hg", "nh", "sr", "rr", "mg"};
enum { N = sizeof advice / sizeof advice[0] };

static bool has(void* area, const char* wanted) {
  char flags[256];
  smaps_field(area, "VmFlags", flags, sizeof flags);
  return strstr(flags, wanted) != NULL;
}

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  size_t size = 8 * 4096;
  char* areas[N];
  bool set[N];
  for (int i = 0; i < N; i++) {
    areas[i] = SYS(mmap(NULL, size * 2, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    SYS(mprotect(areas[i] + size, size, PROT_NONE));
    fill(areas[i], size, (uint64_t)i);
    set[i] = madvise(areas[i], size, advice[i]) == 0;  // MERGEABLE and HUGEPAGE need a kernel with that
    CHECK(has(areas[i], flag[i]) == set[i], "flag %s does not show", flag[i]);
  }
  ready();
  wait_for_go();
  for (int i = 0; i < N; i++) {
    check_filled(areas[i], size, (uint64_t)i, "area with advice");
    CHECK(has(areas[i], flag[i]) == set[i], "flag %s is %s", flag[i], set[i] ? "lost" : "new");
  }
  pid_t child = SYS(fork());
  if (child == 0) {
    check_zero(areas[2], size, "MADV_WIPEONFORK area in a new child");
    check_filled(areas[1], size, 1, "area in a new child");
    CHECK(mincore(areas[0], size, (unsigned char[8]){0}) == -1 && errno == ENOMEM, "the MADV_DONTFORK area is in the child");
    _exit(0);
  }
  join_child(child);
  return 0;
}
