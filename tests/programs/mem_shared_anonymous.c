// about: shared anonymous memory between three processes: contents, and it is still shared

#include "scenario.h"

#define SIZE (256 * 4096)

static char* map;

static int child(void* arg) {
  long number = (long)arg;
  fill(map + number * 4096, 4096, (uint64_t)number);
  char name[16];
  snprintf(name, sizeof name, "child%ld", number);
  mark(name);
  wait_for_go();
  check_filled(map + 100 * 4096, 4096, 100, "page that the parent wrote");
  while (*(volatile char*)map != 'G') sleep_ms(2);
  __sync_fetch_and_add((int*)(map + 64), 1);
  return 0;
}

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  map = SYS(mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  char* unshared = SYS(mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  fill(map + 100 * 4096, 4096, 100);
  fill(unshared + 4096, 4096, 200);
  pid_t a = spawn(child, (void*)1), b = spawn(child, (void*)2);
  await_mark("child1");
  await_mark("child2");
  SYS(munmap(unshared + 16 * 4096, 4096));  // a hole in our view of it
  ready();
  wait_for_go();
  check_filled(map + 4096, 4096, 1, "page of child 1");
  check_filled(map + 2 * 4096, 4096, 2, "page of child 2");
  check_filled(unshared + 4096, 4096, 200, "second area");
  check_zero(map + 3 * 4096, 4096, "untouched page");
  map[0] = 'G';
  while (*(volatile int*)(map + 64) != 2) sleep_ms(2);
  join_child(a);
  join_child(b);
  return 0;
}
