// about: threads of one process with different uids and capabilities (raw system calls, as some servers do)

#include <linux/capability.h>
#include <pthread.h>

#include "scenario.h"

static volatile int go, started;

static void* body(void* arg) {
  uid_t uid = (uid_t)(long)arg, real, effective, saved;
  SYS(syscall(SYS_setresuid, -1, uid, -1));
  __sync_fetch_and_add(&started, 1);
  while (!go) sleep_ms(10);
  SYS(getresuid(&real, &effective, &saved));
  CHECK(real == 0 && effective == uid && saved == 0, "uids 0 %d 0 became %d %d %d", uid, real, effective, saved);
  return NULL;
}

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  pthread_t threads[3];
  for (long i = 0; i < 3; i++) CHECK(pthread_create(&threads[i], NULL, body, (void*)(5000 + i)) == 0, "pthread_create");
  while (started < 3) sleep_ms(1);
  ready();
  wait_for_go();
  go = 1;
  CHECK(geteuid() == 0, "euid of the main thread is %d", geteuid());
  for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
  return 0;
}
