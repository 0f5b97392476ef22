// A process tree of a given size, to be dumped: PROCESSES ready-FILE. Each process has ten areas or more.
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int main(int argc, char **argv) {
  if (argc != 3) return 1;
  for (int i = 0; i < 4; ++i) {
    // Every other one is unreadable, so that the kernel does not join them.
    char *area = mmap(NULL, 8192, i % 2 ? PROT_READ : PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (area == MAP_FAILED) return 1;
    if (i % 2 == 0) area[0] = 'x';
  }
  for (int i = 1; i < atoi(argv[1]); ++i) {
    const pid_t pid = fork();
    if (pid < 0) return 1;
    if (pid == 0)
      for (;;) pause();
  }
  const int fd = open(argv[2], O_WRONLY | O_CREAT, 0600);
  if (fd < 0) return 1;
  close(fd);
  for (;;) pause();
}
