// about: alternate signal stacks of two threads: address, size and flags, and handlers run on them

#include <pthread.h>

#include "scenario.h"

#ifndef SS_AUTODISARM
#define SS_AUTODISARM (1U << 31)
#endif
#define SIZE 65536

static volatile int go, started;
static __thread void* handler_sp;

static void handler(int sig) { handler_sp = __builtin_frame_address(0); }

static void* body(void* arg) {
  stack_t stack = {.ss_sp = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), .ss_size = SIZE}, seen;
  stack.ss_flags = arg ? (int)SS_AUTODISARM : 0;
  SYS(sigaltstack(&stack, NULL));
  __sync_fetch_and_add(&started, 1);
  if (arg) {
    while (!go) sleep_ms(10);
  } else {
    ready();
    wait_for_go();
    go = 1;
  }
  SYS(sigaltstack(NULL, &seen));
  CHECK(seen.ss_sp == stack.ss_sp && seen.ss_size == SIZE && seen.ss_flags == stack.ss_flags, "stack %p+%d flags %#x became %p+%zu %#x",
        stack.ss_sp, SIZE, (unsigned)stack.ss_flags, seen.ss_sp, seen.ss_size, (unsigned)seen.ss_flags);
  SYS(syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), SIGUSR1));
  CHECK(handler_sp >= stack.ss_sp && (char*)handler_sp < (char*)stack.ss_sp + SIZE, "the handler ran at %p, not on the stack at %p",
        handler_sp, stack.ss_sp);
  return NULL;
}

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  struct sigaction action = {.sa_handler = handler, .sa_flags = SA_ONSTACK};
  SYS(sigaction(SIGUSR1, &action, NULL));
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, body, (void*)1) == 0, "pthread_create");
  while (started < 1) sleep_ms(1);
  body(NULL);
  pthread_join(thread, NULL);
  return 0;
}
