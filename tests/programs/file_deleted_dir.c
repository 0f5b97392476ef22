// about: a process in a directory that was deleted, and an open descriptor of one

#include "scenario.h"

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  SYS(mkdir("gone", 0750));
  int fd = SYS(open("gone", O_RDONLY | O_DIRECTORY));
  SYS(chdir("gone"));
  SYS(rmdir("../gone"));
  ready();
  wait_for_go();
  char cwd[PATH_MAX];
  CHECK(getcwd(cwd, sizeof cwd) == NULL && errno == ENOENT, "the deleted current directory is %s", cwd);
  struct stat st, st2;
  SYS(fstat(fd, &st));
  SYS(stat(".", &st2));
  CHECK(S_ISDIR(st.st_mode) && st.st_nlink == 0, "mode %o, %d links", st.st_mode, (int)st.st_nlink);
  CHECK(st.st_ino == st2.st_ino, "current directory and descriptor are not the same directory any more");
  CHECK(access(path_in("gone"), F_OK) == -1, "the deleted directory is back");
  return 0;
}
