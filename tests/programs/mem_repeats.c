// about: 16 MiB that repeat themselves, as memory of real programs does: what is packed on its way is the same afterwards

#include "scenario.h"

#define PAGES 4096

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  uint64_t* area = SYS(mmap(NULL, PAGES * 4096ul, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  for (uint64_t word = 0; word < PAGES * 512ul; word++) area[word] = word % 512 < 64 ? word : word % 7;
  ready();
  wait_for_go();
  for (uint64_t word = 0; word < PAGES * 512ul; word++)
    CHECK(area[word] == (word % 512 < 64 ? word : word % 7), "word %llu is %llu", (unsigned long long)word, (unsigned long long)area[word]);
  return 0;
}
