// about: regular files: offsets, access modes, status flags, append, empty and sparse files, high descriptor numbers

#include <sys/resource.h>

#include "scenario.h"

#define HIGH 4000

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  SYS(setrlimit(RLIMIT_NOFILE, &(struct rlimit){HIGH + 10, HIGH + 10}));
  int rw = SYS(open("rw", O_RDWR | O_CREAT | O_TRUNC, 0640)), rd, append, direct, noatime, high;
  SYS(write(rw, "0123456789", 10));
  SYS(lseek(rw, 3, SEEK_SET));
  rd = SYS(open("rw", O_RDONLY | O_NONBLOCK | O_NOFOLLOW));
  SYS(lseek(rd, 7, SEEK_SET));
  append = SYS(open("log", O_WRONLY | O_CREAT | O_APPEND | O_DSYNC, 0600));
  SYS(write(append, "one", 3));
  direct = open("rw", O_RDONLY | O_DIRECT);  // some file systems have it not
  noatime = SYS(open("rw", O_RDONLY | O_NOATIME));
  high = SYS(fcntl(rw, F_DUPFD, HIGH));
  int far_fd = SYS(open("sparse", O_RDWR | O_CREAT, 0600));
  SYS(lseek(far_fd, 1ll << 40, SEEK_SET));
  int fds[] = {rw, rd, append, direct, noatime, high, far_fd}, flags[7];
  for (int i = 0; i < 7; i++) flags[i] = fds[i] < 0 ? 0 : SYS(fcntl(fds[i], F_GETFL));
  ready();
  wait_for_go();
  for (int i = 0; i < 7; i++)
    CHECK(fds[i] < 0 || fcntl(fds[i], F_GETFL) == flags[i], "descriptor %d: flags %#o became %#o", fds[i], flags[i],
          fcntl(fds[i], F_GETFL));
  char text[16] = "";
  CHECK(read(rw, text, 2) == 2 && memcmp(text, "34", 2) == 0, "rw reads \"%s\"", text);
  CHECK(read(high, text, 2) == 2 && memcmp(text, "56", 2) == 0, "the duplicate does not share the offset: \"%s\"", text);
  CHECK(read(rd, text, 3) == 3 && memcmp(text, "789", 3) == 0, "rd reads \"%s\"", text);
  CHECK(lseek(far_fd, 0, SEEK_CUR) == 1ll << 40, "offset of the sparse file is %lld", (long long)lseek(far_fd, 0, SEEK_CUR));
  int other = SYS(open("log", O_WRONLY | O_APPEND));
  SYS(write(other, "two", 3));
  SYS(write(append, "three", 5));
  CHECK(slurp("log", text, sizeof text) == 11 && strcmp(text, "onetwothree") == 0, "the log holds \"%s\"", text);
  CHECK(write(rd, "x", 1) == -1 && errno == EBADF, "a read-only descriptor can write");
  return 0;
}
