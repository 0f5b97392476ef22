// about: a pseudo terminal whose both ends are in the tree: modes, window size, controlling terminal, foreground group, queued data

#include <sys/ioctl.h>
#include <termios.h>

#include "scenario.h"

static int master;
static char name[64];

static int child(void* arg) {
  SYS(setsid());
  int fd = SYS(open(name, O_RDWR));  // becomes the controlling terminal
  close(master);
  mark("child");
  wait_for_go();
  CHECK(tcgetsid(fd) == getpid() && tcgetpgrp(fd) == getpgrp(), "session %d, foreground group %d", tcgetsid(fd), tcgetpgrp(fd));
  int tty = SYS(open("/dev/tty", O_RDWR));
  SYS(write(tty, "from tty\n", 9));
  char line[64] = "";
  CHECK(read(fd, line, sizeof line) == 6 && strcmp(line, "input\n") == 0, "the child reads \"%s\"", line);
  return 0;
}

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  master = SYS(posix_openpt(O_RDWR | O_NOCTTY));
  SYS(grantpt(master));
  SYS(unlockpt(master));
  CHECK(ptsname_r(master, name, sizeof name) == 0, "ptsname_r");
  struct winsize size = {31, 117, 5, 6}, seen;
  SYS(ioctl(master, TIOCSWINSZ, &size));
  struct termios modes, now;
  SYS(tcgetattr(master, &modes));
  modes.c_lflag &= ~(tcflag_t)ECHO;
  modes.c_cc[VINTR] = 7;
  SYS(tcsetattr(master, TCSANOW, &modes));
  pid_t pid = spawn(child, NULL);
  await_mark("child");
  ready();
  wait_for_go();
  SYS(ioctl(master, TIOCGWINSZ, &seen));
  CHECK(memcmp(&size, &seen, sizeof size) == 0, "window size %d×%d", seen.ws_row, seen.ws_col);
  SYS(tcgetattr(master, &now));
  CHECK(now.c_lflag == modes.c_lflag && now.c_cc[VINTR] == 7 && now.c_oflag == modes.c_oflag && now.c_iflag == modes.c_iflag &&
            now.c_cflag == modes.c_cflag,
        "modes");
  int number = -1;
  SYS(ioctl(master, TIOCGPTN, &number));
  CHECK(number == atoi(strrchr(name, '/') + 1), "number %d of %s", number, name);
  char text[64] = "";
  size_t used = 0;
  while (!strstr(text, "from tty\r\n")) used += (size_t)SYS(read(master, text + used, sizeof text - 1 - used));
  SYS(write(master, "input\n", 6));
  join_child(pid);
  return 0;
}
