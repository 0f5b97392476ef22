// about: processes that are forked afterwards and outlive their parents, one of them in another program, with memory of the first

#include "scenario.h"

#define SIZE (1 << 20)

static char* area;

// The grandchild stays when its parent has ended; so does its program, while the file "hold" is there.
static int middle(void* arg) {
  const char* name = arg;
  if (fork() != 0) return 0;
  if (strcmp(name, "orphan_program") == 0) {
    execl("/proc/self/exe", "/proc/self/exe", scenario_dir, name, NULL);
    FAIL("execl");
  }
  SYS(setsid());
  check_filled(area, SIZE, 1, "the orphan's memory");
  mark(name);
  while (has_mark("hold")) sleep_ms(5);
  return 0;
}

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  if (argc > 2) {
    mark(argv[2]);
    while (has_mark("hold")) sleep_ms(5);
    return 0;
  }
  area = SYS(mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  fill(area, SIZE, 1);
  ready();
  wait_for_go();
  for (int i = 0; i < 2; i++) join_child(spawn(middle, i ? "orphan_program" : "orphan"));
  await_mark("orphan");
  await_mark("orphan_program");
  while (has_mark("hold")) sleep_ms(5);
  check_filled(area, SIZE, 1, "memory");
  return 0;
}
