// about: the names of processes and of single threads, also with odd characters

#include <pthread.h>
#include <sys/prctl.h>

#include "scenario.h"

static volatile int go, started;
static const char* const names[] = {"main) R 1 (x", "thread one", "\xc3\xa4\n(", ""};

static void set(const char* name) { SYS(prctl(PR_SET_NAME, name, 0, 0, 0)); }

static void check(const char* name) {
  char seen[17] = "";
  SYS(prctl(PR_GET_NAME, seen, 0, 0, 0));
  CHECK(strcmp(seen, name) == 0, "name \"%s\" became \"%s\"", name, seen);
}

static void* body(void* arg) {
  set(arg);
  __sync_fetch_and_add(&started, 1);
  while (!go) sleep_ms(10);
  check(arg);
  return NULL;
}

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  pthread_t threads[3];
  for (int i = 0; i < 3; i++) CHECK(pthread_create(&threads[i], NULL, body, (void*)names[i + 1]) == 0, "pthread_create");
  while (started < 3) sleep_ms(1);
  set(names[0]);
  ready();
  wait_for_go();
  go = 1;
  check(names[0]);
  for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
  return 0;
}
