// about: pipes: data in them, size, non-blocking and packet mode, one end closed

#include "scenario.h"

static bool at_end(int fd) {
  char byte;
  return read(fd, &byte, 1) == 0;
}

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  int full[2], small[2], packet[2], no_writer[2], no_reader[2], empty[2];
  SYS(pipe2(full, O_NONBLOCK));
  SYS(pipe2(small, O_CLOEXEC));
  SYS(pipe2(packet, O_DIRECT | O_NONBLOCK));
  SYS(pipe(no_writer));
  SYS(pipe(no_reader));
  SYS(pipe2(empty, O_NONBLOCK));
  static uint64_t data[65536 / 8], seen[65536 / 8];
  fill(data, sizeof data, 1);
  size_t filled = 0;
  ssize_t n;
  while ((n = write(full[1], (char*)data + filled, sizeof data - filled)) > 0) filled += (size_t)n;
  int size = SYS(fcntl(small[1], F_SETPIPE_SZ, 16384));
  SYS(write(small[1], "some data", 9));
  SYS(write(packet[1], "first", 5));
  SYS(write(packet[1], "second one", 10));
  SYS(write(no_writer[1], "last words", 10));
  SYS(close(no_writer[1]));
  SYS(close(no_reader[0]));
  ready();
  wait_for_go();
  char text[64] = "";
  CHECK(filled == 65536 && write(full[1], "x", 1) == -1 && errno == EAGAIN, "the full pipe takes more");
  for (size_t done = 0; done < filled; done += (size_t)n)
    CHECK((n = read(full[0], (char*)seen + done, filled - done)) > 0, "the full pipe gives too little");
  check_filled(seen, sizeof seen, 1, "full pipe");
  CHECK(read(full[0], text, 1) == -1 && errno == EAGAIN, "the full pipe holds more than was written");
  CHECK(fcntl(small[0], F_GETPIPE_SZ) == size && fcntl(full[0], F_GETPIPE_SZ) == 65536, "sizes are %d, %d", fcntl(small[0], F_GETPIPE_SZ),
        fcntl(full[0], F_GETPIPE_SZ));
  CHECK(read(small[0], text, 64) == 9 && memcmp(text, "some data", 9) == 0, "small pipe: \"%s\"", text);
  CHECK(read(packet[0], text, 64) == 5 && memcmp(text, "first", 5) == 0, "first packet");
  CHECK(read(packet[0], text, 64) == 10 && memcmp(text, "second one", 10) == 0, "second packet");
  SYS(write(packet[1], "ab", 2));
  SYS(write(packet[1], "cd", 2));
  CHECK(read(packet[0], text, 64) == 2, "packet mode is lost");
  CHECK(read(no_writer[0], text, 64) == 10 && at_end(no_writer[0]), "the pipe without writer has no end");
  signal(SIGPIPE, SIG_IGN);
  CHECK(write(no_reader[1], "x", 1) == -1 && errno == EPIPE, "the pipe without reader takes data");
  CHECK(read(empty[0], text, 1) == -1 && errno == EAGAIN, "the empty pipe is not empty");
  CHECK(fcntl(small[0], F_GETFD) == FD_CLOEXEC && fcntl(full[0], F_GETFD) == 0, "close-on-exec");
  CHECK(fcntl(full[0], F_GETFL) == O_NONBLOCK && fcntl(small[1], F_GETFL) == O_WRONLY, "flags %#o, %#o", fcntl(full[0], F_GETFL),
        fcntl(small[1], F_GETFL));
  return 0;
}
