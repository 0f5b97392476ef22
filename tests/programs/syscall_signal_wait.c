// about: sigtimedwait(), sigsuspend() and pause() go on waiting and wake up for their signal

#include <pthread.h>

#include "scenario.h"

static volatile pid_t tids[3];
static volatile sig_atomic_t handled[2];

static void handler(int sig) { handled[sig == SIGUSR2]++; }

static void* waiter(void* arg) {
  sigset_t set;
  siginfo_t info;
  sigemptyset(&set);
  sigaddset(&set, SIGRTMIN);
  tids[0] = (pid_t)syscall(SYS_gettid);
  int n = sigwaitinfo(&set, &info);
  CHECK(n == SIGRTMIN && info.si_pid == getpid(), "sigwaitinfo gives %d from %d", n, info.si_pid);
  return NULL;
}

static void* suspender(void* arg) {
  sigset_t set;
  sigfillset(&set);
  sigdelset(&set, SIGUSR1);
  tids[1] = (pid_t)syscall(SYS_gettid);
  CHECK(sigsuspend(&set) == -1 && errno == EINTR && handled[0] == 1, "sigsuspend ended, SIGUSR1 came %d times", (int)handled[0]);
  sigset_t now;
  pthread_sigmask(SIG_SETMASK, NULL, &now);
  CHECK(sigismember(&now, SIGUSR1) && !sigismember(&now, SIGHUP), "the mask from before sigsuspend is not back");
  return NULL;
}

static void* pauser(void* arg) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR2);
  tids[2] = (pid_t)syscall(SYS_gettid);
  pthread_sigmask(SIG_UNBLOCK, &set, NULL);
  CHECK(pause() == -1 && handled[1] == 1, "pause ended, SIGUSR2 came %d times", (int)handled[1]);
  return NULL;
}

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  struct sigaction action = {.sa_handler = handler};
  SYS(sigaction(SIGUSR1, &action, NULL));
  SYS(sigaction(SIGUSR2, &action, NULL));
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  sigaddset(&set, SIGUSR2);
  sigaddset(&set, SIGRTMIN);
  pthread_sigmask(SIG_BLOCK, &set, NULL);
  void* (*bodies[])(void*) = {waiter, suspender, pauser};
  static const long calls[] = {SYS_rt_sigtimedwait, SYS_rt_sigsuspend, SYS_pause};
  pthread_t threads[3];
  for (int i = 0; i < 3; i++) {
    CHECK(pthread_create(&threads[i], NULL, bodies[i], NULL) == 0, "pthread_create");
    while (!tids[i]) sleep_ms(1);
    await_syscall(getpid(), tids[i], calls[i]);
  }
  ready();
  wait_for_go();
  CHECK(!handled[0] && !handled[1], "a signal came that nobody sent");
  static const int signals[] = {0, SIGUSR1, SIGUSR2};
  for (int i = 0; i < 3; i++) {
    // Still waiting, in the same call.
    await_syscall(getpid(), tids[i], calls[i]);
    SYS(syscall(SYS_tgkill, getpid(), tids[i], i == 0 ? SIGRTMIN : signals[i]));
    pthread_join(threads[i], NULL);
  }
  return 0;
}
