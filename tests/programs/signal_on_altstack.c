// about: a thread that is inside a signal handler on its alternate stack goes on there and returns from it

#include "scenario.h"

static volatile sig_atomic_t returned;

static void handler(int sig, siginfo_t* info, void* context) {
  int on_stack = 4711;
  ready();
  wait_for_go();
  stack_t seen;
  SYS(sigaltstack(NULL, &seen));
  CHECK(seen.ss_flags & SS_ONSTACK, "the kernel does not know that we are on the alternate stack: flags %#x", (unsigned)seen.ss_flags);
  CHECK(on_stack == 4711 && info->si_signo == SIGUSR1 && info->si_value.sival_int == 99, "the handler's frame has changed");
  returned = 1;
}

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  stack_t stack = {.ss_sp = malloc(131072), .ss_size = 131072}, seen;
  SYS(sigaltstack(&stack, NULL));
  struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_ONSTACK | SA_SIGINFO};
  SYS(sigaction(SIGUSR1, &action, NULL));
  SYS(sigqueue(getpid(), SIGUSR1, (union sigval){.sival_int = 99}));
  CHECK(returned, "the handler has not run");
  SYS(sigaltstack(NULL, &seen));
  CHECK(seen.ss_flags == 0 && seen.ss_sp == stack.ss_sp, "stack after the handler: %p flags %#x", seen.ss_sp, (unsigned)seen.ss_flags);
  sigset_t mask;
  sigprocmask(SIG_BLOCK, NULL, &mask);
  CHECK(!sigismember(&mask, SIGUSR1), "SIGUSR1 stays blocked after the handler");
  return 0;
}
