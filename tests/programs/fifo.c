// about: a named FIFO: data in it, both ends, read-write opening, deleted while open

#include "scenario.h"

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  SYS(mkfifo("named", 0640));
  SYS(mkfifo("gone", 0600));
  int rd = SYS(open("named", O_RDONLY | O_NONBLOCK)), wr = SYS(open("named", O_WRONLY)), both = SYS(open("gone", O_RDWR | O_NONBLOCK));
  SYS(fcntl(rd, F_SETFL, 0));
  SYS(unlink("gone"));
  SYS(write(wr, "through the fifo", 16));
  SYS(write(both, "deleted", 7));
  int flags[2] = {SYS(fcntl(both, F_GETFL)), SYS(fcntl(rd, F_GETFL))};
  ready();
  wait_for_go();
  char text[64] = "";
  CHECK(read(rd, text, 64) == 16 && strcmp(text, "through the fifo") == 0, "\"%s\"", text);
  memset(text, 0, sizeof text);
  CHECK(read(both, text, 64) == 7 && strcmp(text, "deleted") == 0, "\"%s\"", text);
  CHECK(read(both, text, 64) == -1 && errno == EAGAIN, "more in the deleted one");
  // A newcomer meets the same FIFO.
  int late = SYS(open("named", O_WRONLY | O_NONBLOCK));
  SYS(write(late, "late", 4));
  CHECK(read(rd, text, 64) == 4 && memcmp(text, "late", 4) == 0, "a newcomer's data do not arrive");
  SYS(close(late));
  SYS(close(wr));
  CHECK(read(rd, text, 64) == 0, "no end");
  CHECK(fcntl(both, F_GETFL) == flags[0] && fcntl(rd, F_GETFL) == flags[1], "flags %#o %#o", fcntl(both, F_GETFL), fcntl(rd, F_GETFL));
  CHECK(access("gone", F_OK) == -1, "the deleted FIFO is back");
  return 0;
}
