// about: signals that are pending for the whole process, with their siginfo, in their order, several of one real-time signal

#include "scenario.h"

static void take(const sigset_t* set, int sig, int code, pid_t pid, int value) {
  siginfo_t info;
  memset(&info, 0, sizeof info);
  int got = sigtimedwait(set, &info, &(struct timespec){0, 0});
  CHECK(got == sig, "signal %d comes instead of %d", got, sig);
  CHECK(info.si_code == code && info.si_pid == pid && info.si_uid == getuid(), "signal %d: code %d pid %d uid %d, should be code %d pid %d",
        sig, info.si_code, info.si_pid, (int)info.si_uid, code, pid);
  if (code == SI_QUEUE) CHECK(info.si_value.sival_int == value, "signal %d: value %d, should be %d", sig, info.si_value.sival_int, value);
}

static int sender(void* arg) {
  SYS(sigqueue(getppid(), SIGRTMIN + 4, (union sigval){.sival_int = 1000}));
  return 0;
}

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  sigset_t set;
  sigfillset(&set);
  SYS(sigprocmask(SIG_BLOCK, &set, NULL));
  pid_t self = getpid();
  SYS(kill(self, SIGUSR1));
  SYS(kill(self, SIGTERM));
  SYS(sigqueue(self, SIGUSR2, (union sigval){.sival_int = 5}));
  for (int i = 0; i < 30; i++) SYS(sigqueue(self, SIGRTMIN + 3, (union sigval){.sival_int = 100 + i}));
  pid_t child = spawn(sender, NULL);
  join_child(child);  // its SIGCHLD stays pending too
  ready();
  wait_for_go();
  take(&set, SIGUSR1, SI_USER, self, 0);
  take(&set, SIGUSR2, SI_QUEUE, self, 5);
  take(&set, SIGTERM, SI_USER, self, 0);
  take(&set, SIGCHLD, CLD_EXITED, child, 0);
  for (int i = 0; i < 30; i++) take(&set, SIGRTMIN + 3, SI_QUEUE, self, 100 + i);
  take(&set, SIGRTMIN + 4, SI_QUEUE, child, 1000);
  siginfo_t info;
  CHECK(sigtimedwait(&set, &info, &(struct timespec){0, 0}) == -1 && errno == EAGAIN, "there is one more signal: %d", info.si_signo);
  return 0;
}
