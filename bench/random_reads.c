// Random reads of 4 KiB from a part of a file, by several processes at once: FILE OFFSET LENGTH READERS MILLISECONDS. Prints the reads per second of all.
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec / 1e9;
}

int main(int argc, char **argv) {
  if (argc != 6) return 1;
  const uint64_t offset = strtoull(argv[2], NULL, 0), pages = strtoull(argv[3], NULL, 0) / 4096;
  const int readers = atoi(argv[4]);
  const double seconds = atoi(argv[5]) / 1000.0;
  uint64_t *counts = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  const double begin = now();
  for (int i = 0; i < readers; ++i) {
    if (fork() > 0) continue;
    const int fd = open(argv[1], O_RDONLY);
    static char buffer[4096];
    uint64_t random = 88172645463325252ull + (uint64_t)i * 7919, count = 0;
    for (;;) {
      random ^= random << 13, random ^= random >> 7, random ^= random << 17;
      if (pread(fd, buffer, sizeof buffer, (off_t)(offset + random % pages * 4096)) != sizeof buffer) _exit(1);
      if (++count % 64 == 0 && now() - begin > seconds) break;
    }
    counts[i * 8] = count;
    _exit(0);
  }
  int failed = 0, status;
  while (wait(&status) > 0) failed |= status;
  const double taken = now() - begin;
  uint64_t sum = 0;
  for (int i = 0; i < readers; ++i) sum += counts[i * 8];
  printf("%.0f\n", sum / taken);
  return failed != 0;
}
