// A process of a given size for the benchmarks: touches all its memory once, says that it is ready, and sleeps.
//   resident MIB READY_FILE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int main(int argc, char** argv) {
  if (argc != 3) return 1;
  const size_t size = strtoul(argv[1], NULL, 10) << 20;
  uint64_t* memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return 1;
  // No page is like another, and none is zero.
  for (size_t i = 0; i < size / 8; i += 64) memory[i] = (i + 1) * 0x9e3779b97f4a7c15u;
  close(open(argv[2], O_CREAT | O_WRONLY, 0644));
  for (;;) {
    pause();
    for (size_t i = 0; i < size / 8; i += 64)
      if (memory[i] != (i + 1) * 0x9e3779b97f4a7c15u) abort();
  }
}
