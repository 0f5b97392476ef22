// about: /dev/null, /dev/zero, /dev/full, /dev/random and /dev/urandom as descriptors, /dev/zero also mapped

#include "scenario.h"

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  static const char* const names[] = {"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"};
  int fds[5];
  for (int i = 0; i < 5; i++) fds[i] = SYS(open(names[i], i % 2 ? O_RDWR | O_CLOEXEC : O_RDWR));
  char* private = SYS(mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE, fds[1], 0));
  fill(private, 4096, 1);
  ready();
  wait_for_go();
  char text[16] = "x";
  CHECK(read(0, text, 1) == 0 && read(fds[0], text, 1) == 0 && write(fds[0], "x", 1) == 1, "/dev/null");
  CHECK(read(fds[1], text, 16) == 16 && text[0] == 0, "/dev/zero");
  CHECK(write(fds[2], "x", 1) == -1 && errno == ENOSPC, "/dev/full");
  CHECK(read(fds[3], text, 8) == 8 && read(fds[4], text, 8) == 8, "random devices");
  for (int i = 0; i < 5; i++) CHECK(fcntl(fds[i], F_GETFD) == (i % 2 ? FD_CLOEXEC : 0), "%s: close-on-exec", names[i]);
  check_filled(private, 4096, 1, "mapped /dev/zero");
  check_zero(private + 4096, 4096, "mapped /dev/zero, untouched");
  return 0;
}
