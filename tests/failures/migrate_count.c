// Compiled by migrate_random_kill.py: two processes that count. Each step reads one page more of its memory, and appends a line to the file "steps":
// the pid namespace in which the step was made, which tells the copies of the program from each other, and the pid.
#include "scenario.h"

#define PAGES 1024ul

static uint64_t* area;
static int steps;

static void count_for_ever(void) {
  const pid_t pid = getpid();
  for (unsigned long step = 0;; step++) {
    check_filled(area + step % PAGES * 512, 4096, step % PAGES, "a page");
    char where[64], line[128];
    const ssize_t n = SYS(readlink("/proc/self/ns/pid", where, sizeof where - 1));
    where[n] = 0;
    const int length = snprintf(line, sizeof line, "%s %d\n", where, pid);
    CHECK(write(steps, line, (size_t)length) == length, "a step");
    sleep_ms(1);
  }
}

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  area = SYS(mmap(NULL, PAGES * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  for (unsigned long page = 0; page < PAGES; page++) fill(area + page * 512, 4096, page);
  steps = SYS(open(path_in("steps"), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666));
  const pid_t child = SYS(fork());
  if (child != 0) ready();
  wait_for_go();
  count_for_ever();
}
