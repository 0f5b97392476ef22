// about: a read() that is blocked in an empty pipe goes on and gets the data that is written later, without EINTR

#include <pthread.h>

#include "scenario.h"

static int ends[2];
static volatile pid_t reader;

static void* body(void* arg) {
  char text[16] = "";
  reader = (pid_t)syscall(SYS_gettid);
  ssize_t n = read(ends[0], text, sizeof text);
  CHECK(n == 5 && memcmp(text, "later", 5) == 0, "read gives %zd, \"%s\"", n, text);
  return NULL;
}

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  pthread_t thread;
  SYS(pipe(ends));
  CHECK(pthread_create(&thread, NULL, body, NULL) == 0, "pthread_create");
  while (!reader) sleep_ms(1);
  await_syscall(getpid(), reader, SYS_read);
  ready();
  wait_for_go();
  SYS(write(ends[1], "later", 5));
  pthread_join(thread, NULL);
  return 0;
}
