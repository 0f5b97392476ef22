// about: a program in an outside shell's session on its terminal (--shell-job): session, group, terminal and modes
// options: --shell-job
// terminal: outside
// modes: native leave-running eager lazy

#include <sys/ioctl.h>
#include <termios.h>

#include "scenario.h"

static int child(void* arg) {
  mark("child");
  wait_for_go();
  CHECK(isatty(0) && getsid(0) == getsid(getppid()), "child: stdin is no terminal or the session is another one");
  return 0;
}

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  CHECK(isatty(0) && getsid(0) != getpid(), "the runner has not given a terminal and a session of somebody else");
  SYS(setpgid(0, 0));
  struct termios modes, now;
  SYS(tcgetattr(0, &modes));
  modes.c_lflag &= ~(tcflag_t)(ECHO | ICANON);
  signal(SIGTTOU, SIG_IGN);
  SYS(tcsetattr(0, TCSANOW, &modes));
  pid_t pid = spawn(child, NULL), sid = getsid(0), pgrp = getpgrp();
  await_mark("child");
  ready();
  wait_for_go();
  CHECK(getsid(0) == sid && getpgrp() == pgrp && getpgrp() == getpid(), "session %d group %d became %d %d", sid, pgrp, getsid(0),
        getpgrp());
  CHECK(isatty(0), "stdin is no terminal any more");
  SYS(tcgetattr(0, &now));
  CHECK(now.c_lflag == modes.c_lflag, "terminal modes %#x became %#x", modes.c_lflag, now.c_lflag);
  int tty = open("/dev/tty", O_RDWR);
  CHECK(tty >= 0, "no controlling terminal");
  join_child(pid);
  return 0;
}
