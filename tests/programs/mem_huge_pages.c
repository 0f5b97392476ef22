// about: 64 MiB, where the kernel can in transparent huge pages, with single 4 KiB pages given back (MADV_DONTNEED)

#include <sys/mman.h>

#include "scenario.h"

#define SIZE (64ul << 20)

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  char* raw = SYS(mmap(NULL, SIZE + (2 << 20), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  char* area = (char*)(((uintptr_t)raw + (2 << 20) - 1) & ~((2ul << 20) - 1));
  madvise(area, SIZE, MADV_HUGEPAGE);  // kernels without it refuse: the contents are tested all the same
  fill(area, SIZE, 1);
  for (size_t at = 0; at < SIZE; at += 3ul << 20) SYS(madvise(area + at, 4096, MADV_DONTNEED));
  ready();
  wait_for_go();
  uint64_t* words = (uint64_t*)area;
  for (size_t i = SIZE / 8; i-- > 0;) {
    size_t at = i * 8;
    uint64_t wanted = at % (3ul << 20) < 4096 ? 0 : pattern_word(1, i);
    CHECK(words[i] == wanted, "word at %#zx is %#llx, should be %#llx", at, (unsigned long long)words[i], (unsigned long long)wanted);
  }
  return 0;
}
