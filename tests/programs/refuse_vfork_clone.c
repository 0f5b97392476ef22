// about: a thread whose posix_spawn() has not come to its program yet is refused, and the calls of the other threads go on
// expect: refused vfork
// timeout: 8
// shorter than the --timeout of a dump, because this can be seen without waiting so long

#include <linux/sched.h>
#include <pthread.h>

#include "scenario.h"

static volatile pid_t tid;

// Fails with EINTR when it is stopped, unless that is put right.
static void* waiter(void* arg) {
  sigset_t set;
  siginfo_t info;
  sigemptyset(&set);
  sigaddset(&set, SIGRTMIN);
  tid = (pid_t)syscall(SYS_gettid);
  int n = sigwaitinfo(&set, &info);
  CHECK(n == SIGRTMIN, "sigwaitinfo gives %d", n);
  return NULL;
}

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGRTMIN);
  pthread_sigmask(SIG_BLOCK, &set, NULL);
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, waiter, NULL) == 0, "pthread_create");
  while (!tid) sleep_ms(1);
  await_syscall(getpid(), tid, SYS_rt_sigtimedwait);
  // What glibc's posix_spawn() does; a memory of its own lets the child return from here.
  struct clone_args args = {.flags = CLONE_VFORK, .exit_signal = SIGCHLD};
  pid_t pid = (pid_t)SYS(syscall(SYS_clone3, &args, sizeof args));
  if (pid == 0) {
    ready();
    wait_for_go();
    _exit(0);
  }
  join_child(pid);
  SYS(syscall(SYS_tgkill, getpid(), tid, SIGRTMIN));
  pthread_join(thread, NULL);
  return 0;
}
