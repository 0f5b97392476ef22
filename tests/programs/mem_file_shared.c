// about: shared file mappings: changes are in the file, and two processes see each other's

#include "scenario.h"

#define SIZE (32 * 4096)

static char* map;

static int child(void* arg) {
  fill(map + 4096, 4096, 22);
  mark("child");
  wait_for_go();
  while (*(volatile char*)map != 'P') sleep_ms(2);
  map[1] = 'C';
  return 0;
}

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  int fd = SYS(open("data", O_RDWR | O_CREAT | O_CLOEXEC, 0644));
  SYS(ftruncate(fd, SIZE));
  map = SYS(mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
  char* constant = SYS(mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 8192));
  fill(map + 8192, 4096, 33);
  pid_t pid = spawn(child, NULL);
  await_mark("child");
  ready();
  wait_for_go();
  check_filled(map + 4096, 4096, 22, "page that the child wrote");
  check_filled(constant, 4096, 33, "read-only mapping");
  map[0] = 'P';
  while (*(volatile char*)(map + 1) != 'C') sleep_ms(2);
  join_child(pid);
  char seen[2];
  CHECK(pread(fd, seen, 2, 0) == 2 && seen[0] == 'P' && seen[1] == 'C', "the file holds \"%.2s\"", seen);
  return 0;
}
