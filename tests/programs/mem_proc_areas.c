// about: arguments, environment, auxiliary vector and exe link, also of a process that has changed its own arguments

#include <sys/prctl.h>

#include "scenario.h"

extern char** environ;

static size_t read_of(const char* name, char* buffer, size_t size) {
  char path[64];
  snprintf(path, sizeof path, "/proc/self/%s", name);
  return slurp(path, buffer, size);
}

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  static const char* const names[] = {"cmdline", "environ", "auxv"};
  static char before[3][16384], after[16384], exe_before[PATH_MAX], exe_after[PATH_MAX];
  scenario_dir = strdup(scenario_dir);
  size_t length[3];
  memset(argv[0], 'x', strlen(argv[0]));  // as servers do to show their state
  memcpy(environ[0], "Z", 1);
  for (int i = 0; i < 3; i++) length[i] = read_of(names[i], before[i], sizeof before[i]);
  ssize_t exe = SYS(readlink("/proc/self/exe", exe_before, sizeof exe_before));
  ready();
  wait_for_go();
  for (int i = 0; i < 3; i++)
    CHECK(read_of(names[i], after, sizeof after) == length[i] && memcmp(before[i], after, length[i]) == 0, "/proc/self/%s has changed",
          names[i]);
  CHECK(readlink("/proc/self/exe", exe_after, sizeof exe_after) == exe && memcmp(exe_before, exe_after, (size_t)exe) == 0,
        "exe \"%s\" became \"%s\"", exe_before, exe_after);
  argv[0][0] = 'y';
  read_of("cmdline", after, sizeof after);
  CHECK(after[0] == 'y', "/proc/self/cmdline does not follow the memory any more");
  return 0;
}
