// about: the action of every signal: handler, flags, mask and restorer as the kernel has them

#include "scenario.h"

struct kernel_action {
  void (*handler)(int);
  unsigned long flags;
  void (*restorer)(void);
  uint64_t mask;
};

static volatile sig_atomic_t calls;

static void first(int sig) { calls += sig; }
static void second(int sig, siginfo_t* info, void* context) { calls += 1000 * sig; }

static void get(int sig, struct kernel_action* action) { SYS(syscall(SYS_rt_sigaction, sig, NULL, action, 8)); }

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  static struct kernel_action before[65];
  for (int sig = 1; sig <= SIGRTMAX; sig++) {
    struct sigaction action = {0};
    if (sig == SIGKILL || sig == SIGSTOP || (sig >= 32 && sig < SIGRTMIN)) continue;
    switch (sig % 4) {
      case 0:
        action.sa_handler = SIG_IGN;
        break;
      case 1:
        action.sa_handler = first;
        action.sa_flags = SA_RESTART;
        break;
      case 2:
        action.sa_sigaction = second;
        action.sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK;
        break;
      case 3:
        action.sa_handler = SIG_DFL;
        action.sa_flags = SA_NOCLDSTOP;
        break;
    }
    for (int other = 1; other < 32; other++)
      if ((sig * other) % 3 == 1) sigaddset(&action.sa_mask, other);
    SYS(sigaction(sig, &action, NULL));
  }
  struct sigaction once = {.sa_handler = first, .sa_flags = (int)SA_RESETHAND};
  SYS(sigaction(SIGUSR1, &once, NULL));
  for (int sig = 1; sig <= 64; sig++) get(sig, &before[sig]);
  ready();
  wait_for_go();
  for (int sig = 1; sig <= 64; sig++) {
    struct kernel_action now;
    get(sig, &now);
    CHECK(now.handler == before[sig].handler, "signal %d: handler", sig);
    CHECK(now.flags == before[sig].flags, "signal %d: flags %#lx became %#lx", sig, before[sig].flags, now.flags);
    CHECK(now.restorer == before[sig].restorer, "signal %d: restorer", sig);
    CHECK(now.mask == before[sig].mask, "signal %d: mask %#llx became %#llx", sig, (unsigned long long)before[sig].mask,
          (unsigned long long)now.mask);
  }
  raise(SIGUSR1);
  CHECK(calls == SIGUSR1, "handlers: %d", (int)calls);
  struct kernel_action now;
  get(SIGUSR1, &now);
  CHECK((void*)now.handler == (void*)SIG_DFL, "SA_RESETHAND has no effect");
  return 0;
}
