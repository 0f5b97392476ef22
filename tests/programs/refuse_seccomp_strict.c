// about: a thread in strict seccomp mode, where the agent could make no system call, is refused
// expect: refused seccomp

#include <linux/seccomp.h>
#include <sys/prctl.h>

#include "scenario.h"

static int child(void* arg) {
  volatile uint64_t* go = arg;
  SYS(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT, 0, 0, 0));
  go[1] = 1;
  while (!go[0]) {
  }
  syscall(SYS_exit, 0);
  return 0;
}

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  volatile uint64_t* shared = SYS(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  pid_t pid = spawn(child, (void*)shared);
  while (!shared[1]) sleep_ms(1);
  ready();
  wait_for_go();
  shared[0] = 1;
  join_child(pid);
  return 0;
}
