// about: system calls in full swing: two processes pass a checked stream through a pipe and a socket all the while

#include <sys/socket.h>

#include "scenario.h"

static int out[2], back[2];

static void transfer(int fd, void* data, size_t bytes, bool writing) {
  for (size_t done = 0; done < bytes;) {
    ssize_t n = writing ? write(fd, (char*)data + done, bytes - done) : read(fd, (char*)data + done, bytes - done);
    CHECK(n > 0, "%s gives %zd", writing ? "write" : "read", n);
    done += (size_t)n;
  }
}

static int echo(void* arg) {
  uint64_t block[512];
  for (uint64_t round = 0;; round++) {
    transfer(out[0], block, sizeof block, false);
    if (block[0] == 0) return 0;
    check_filled(block, sizeof block, round, "what the child reads");
    fill(block, sizeof block, ~round);
    transfer(back[1], block, sizeof block, true);
  }
}

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  SYS(pipe(out));
  SYS(socketpair(AF_UNIX, SOCK_STREAM, 0, back));
  pid_t child = spawn(echo, NULL);
  uint64_t block[512];
  uint64_t rounds_after = 0;
  for (uint64_t round = 0; rounds_after < 50; round++) {
    fill(block, sizeof block, round);
    transfer(out[1], block, sizeof block, true);
    transfer(back[0], block, sizeof block, false);
    check_filled(block, sizeof block, ~round, "what the parent reads");
    if (round == 20) ready();
    if (round > 20 && round % 16 == 0 && has_mark("go")) rounds_after++;
  }
  memset(block, 0, sizeof block);
  transfer(out[1], block, sizeof block, true);
  join_child(child);
  return 0;
}
