// about: system calls are the first to touch memory that has not come back yet (read into it, write from it, paths, vectors)

#include <sys/socket.h>
#include <sys/uio.h>

#include "scenario.h"

#define CHUNK 65536

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  char* out = SYS(mmap(NULL, CHUNK * 64, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  fill(out, CHUNK * 64, 1);
  char* path = out + CHUNK * 40 + 100;
  snprintf(path, 100, "%s", "created");
  struct iovec* vector = (struct iovec*)(out + CHUNK * 50);
  for (int i = 0; i < 8; i++) vector[i] = (struct iovec){out + CHUNK * (10 + i) + 13, 5000};
  int ends[2];
  SYS(socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
  ready();
  wait_for_go();
  int fd = SYS(open(path, O_RDWR | O_CREAT, 0600));
  CHECK(SYS(writev(fd, vector, 8)) == 40000, "writev is short");
  CHECK(SYS(pwrite(fd, out, CHUNK, 40000)) == CHUNK, "pwrite is short");
  SYS(send(ends[0], out + CHUNK * 30, 4096, 0));
  CHECK(SYS(recv(ends[1], out + CHUNK * 31 + 17, 4096, 0)) == 4096, "recv is short");
  CHECK(memcmp(out + CHUNK * 30, out + CHUNK * 31 + 17, 4096) == 0, "what went through the socket");
  CHECK(SYS(pread(fd, out + CHUNK * 20 + 1000, 40000, 0)) == 40000, "pread is short");
  for (int i = 0; i < 8; i++)
    CHECK(memcmp(out + CHUNK * 20 + 1000 + i * 5000, vector[i].iov_base, 5000) == 0, "part %d of what was written and read", i);
  // What the calls did not touch is as it was, on the same pages.
  for (size_t i = 0; i < 125; i++)
    CHECK(((uint64_t*)out)[CHUNK * 20 / 8 + i] == pattern_word(1, CHUNK * 20 / 8 + i), "word %zu before the part read into", i);
  return 0;
}
