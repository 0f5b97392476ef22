// about: a write() of 300000 bytes blocked in a full pipe goes on: every byte arrives once

#include <pthread.h>

#include "scenario.h"

#define BYTES 300000

static int ends[2];
static volatile pid_t writer;

static void* body(void* arg) {
  uint64_t* data = malloc(BYTES);
  fill(data, BYTES, 1);
  writer = (pid_t)syscall(SYS_gettid);
  // A write that was interrupted after its first bytes gives a short count (write(2)); the rest is written by the next call.
  for (size_t done = 0; done < BYTES;) done += (size_t)SYS(write(ends[1], (char*)data + done, BYTES - done));
  free(data);
  return NULL;
}

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  pthread_t thread;
  SYS(pipe(ends));
  CHECK(pthread_create(&thread, NULL, body, NULL) == 0, "pthread_create");
  while (!writer) sleep_ms(1);
  await_syscall(getpid(), writer, SYS_write);
  ready();
  wait_for_go();
  static uint64_t seen[BYTES / 8];
  for (size_t done = 0; done < BYTES;) done += (size_t)SYS(read(ends[0], (char*)seen + done, BYTES - done));
  check_filled(seen, BYTES, 1, "what came through the pipe");
  pthread_join(thread, NULL);
  return 0;
}
