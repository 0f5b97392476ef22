// about: a process whose main thread has ended (a zombie leader) while another thread goes on
// expect: refused (leader|main thread|first thread|zombie)

#include <pthread.h>

#include "scenario.h"

static void* body(void* arg) {
  await_state(getpid(), 'Z');
  ready();
  wait_for_go();
  _exit(0);
}

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, body, NULL) == 0, "pthread_create");
  syscall(SYS_exit, 0);
}
