// about: ended children that nobody has waited for keep their pids and wait statuses

#include "scenario.h"

static int body(void* arg) {
  int kind = (int)(long)arg;
  if (kind >= 256) raise(kind - 256);
  return kind;
}

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  static const int kinds[] = {0, 7, 255, 256 + SIGKILL, 256 + SIGTERM, 256 + SIGUSR2};
  enum { N = sizeof kinds / sizeof kinds[0] };
  pid_t pids[N];
  for (int i = 0; i < N; i++) pids[i] = spawn(body, (void*)(long)kinds[i]);
  for (int i = 0; i < N; i++) await_state(pids[i], 'Z');
  ready();
  wait_for_go();
  for (int i = 0; i < N; i++) CHECK(task_state(pids[i], 0) == 'Z', "child %d is no zombie but %c", i, task_state(pids[i], 0));
  for (int i = N - 1; i >= 0; i--) {
    int status;
    CHECK(waitpid(pids[i], &status, WNOHANG) == pids[i], "child %d cannot be waited for", i);
    if (kinds[i] < 256)
      CHECK(WIFEXITED(status) && WEXITSTATUS(status) == kinds[i], "child %d: wait status %#x", i, status);
    else
      CHECK(WIFSIGNALED(status) && WTERMSIG(status) == kinds[i] - 256, "child %d: wait status %#x", i, status);
  }
  return 0;
}
