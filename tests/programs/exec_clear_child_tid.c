// about: the address that the kernel clears when a thread ends (set_tid_address): same afterwards, and it is cleared

#include <linux/futex.h>
#include <pthread.h>
#include <sys/prctl.h>

#include "scenario.h"

static volatile int go;
static uint32_t word = 77;
static void* volatile address_seen;

static void* body(void* arg) {
  SYS(syscall(SYS_set_tid_address, &word));
  void* address = NULL;
  SYS(prctl(PR_GET_TID_ADDRESS, &address, 0, 0, 0));
  address_seen = address;
  while (!go) sleep_ms(10);
  SYS(prctl(PR_GET_TID_ADDRESS, &address, 0, 0, 0));
  CHECK(address == &word, "clear_child_tid %p became %p", (void*)&word, address);
  syscall(SYS_exit, 0);
  return NULL;
}

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  void *mine = NULL, *now = NULL;
  if (prctl(PR_GET_TID_ADDRESS, &mine, 0, 0, 0) != 0) skip("PR_GET_TID_ADDRESS: %s", strerror(errno));
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, body, NULL) == 0, "pthread_create");
  while (!address_seen) sleep_ms(1);
  CHECK(address_seen == &word, "set_tid_address did not take");
  ready();
  wait_for_go();
  SYS(prctl(PR_GET_TID_ADDRESS, &now, 0, 0, 0));
  CHECK(now == mine, "clear_child_tid of the main thread %p became %p", mine, now);
  go = 1;
  while (*(volatile uint32_t*)&word == 77) syscall(SYS_futex, &word, FUTEX_WAIT, 77, &(struct timespec){1, 0}, NULL, 0);
  CHECK(word == 0, "the word is %u, should be 0", word);
  return 0;
}
