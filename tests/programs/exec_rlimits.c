// about: all resource limits, soft and hard, of a process that has lowered them

#include <sys/resource.h>

#include "scenario.h"

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  static struct rlimit before[RLIM_NLIMITS];
  for (int i = 0; i < RLIM_NLIMITS; i++) {
    struct rlimit limit;
    SYS(getrlimit(i, &limit));
    // Lower soft below hard, and the hard one too where that harms nothing.
    if (i == RLIMIT_NOFILE) limit = (struct rlimit){200, 300};
    if (i == RLIMIT_CORE) limit = (struct rlimit){0, limit.rlim_max == 0 ? 0 : 4096};
    if (i == RLIMIT_STACK) limit = (struct rlimit){4 << 20, 64 << 20};
    if (i == RLIMIT_FSIZE) limit = (struct rlimit){1 << 30, RLIM_INFINITY};
    if (i == RLIMIT_AS) limit = (struct rlimit){1ull << 40, 1ull << 41};
    if (i == RLIMIT_MSGQUEUE) limit.rlim_cur = limit.rlim_max / 2;
    if (i == RLIMIT_MEMLOCK) limit.rlim_cur = limit.rlim_max / 2;
    SYS(setrlimit(i, &limit));
    before[i] = limit;
  }
  ready();
  wait_for_go();
  for (int i = 0; i < RLIM_NLIMITS; i++) {
    struct rlimit now;
    SYS(getrlimit(i, &now));
    CHECK(now.rlim_cur == before[i].rlim_cur && now.rlim_max == before[i].rlim_max, "limit %d: %#lx %#lx became %#lx %#lx", i,
          (long)before[i].rlim_cur, (long)before[i].rlim_max, (long)now.rlim_cur, (long)now.rlim_max);
  }
  return 0;
}
