// about: a pipe that was opened once more through /proc/self/fd: two open files of the same end

#include "scenario.h"

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  int ends[2];
  char path[64];
  SYS(pipe(ends));
  snprintf(path, sizeof path, "/proc/self/fd/%d", ends[1]);
  int again = SYS(open(path, O_WRONLY | O_NONBLOCK));
  snprintf(path, sizeof path, "/proc/self/fd/%d", ends[0]);
  int both = SYS(open(path, O_RDWR));
  SYS(write(again, "ab", 2));
  SYS(close(ends[1]));
  int fds[] = {again, ends[0], both}, flags[3];
  for (int i = 0; i < 3; i++) flags[i] = SYS(fcntl(fds[i], F_GETFL));
  ready();
  wait_for_go();
  char text[8] = "";
  for (int i = 0; i < 3; i++)
    CHECK(((fcntl(fds[i], F_GETFL) ^ flags[i]) & ~0100000) == 0, "descriptor %d: flags %#o became %#o", fds[i], flags[i], fcntl(fds[i], F_GETFL));
  SYS(write(both, "cd", 2));
  CHECK(read(ends[0], text, 8) == 4 && memcmp(text, "abcd", 4) == 0, "\"%s\"", text);
  SYS(close(again));
  SYS(close(both));
  CHECK(read(ends[0], text, 8) == 0, "no end of the pipe");
  return 0;
}
