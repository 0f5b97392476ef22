// about: four threads touch all of 64 MiB in random order at once, the first touch being a read, a write or an atomic operation

#include <pthread.h>

#include "scenario.h"

#define PAGES 16384

static uint64_t* area;
static uint32_t next_page, order[PAGES];

static void* body(void* arg) {
  for (;;) {
    uint32_t i = __sync_fetch_and_add(&next_page, 1);
    if (i >= PAGES) return NULL;
    uint32_t page = order[i];
    uint64_t *words = area + page * 512ul, base = page * 512ul;
    if (page % 3 == 0) {
      words[7] = 99;
    } else if (page % 3 == 1) {
      uint64_t old = __sync_fetch_and_add(&words[7], 1);
      CHECK(old == pattern_word(1, base + 7), "page %u: first touch by an atomic operation saw %#llx", page, (unsigned long long)old);
    }
    for (uint64_t w = 0; w < 512; w++)
      if (w != 7) CHECK(words[w] == pattern_word(1, base + w), "page %u word %d is %#llx", page, (int)w, (unsigned long long)words[w]);
  }
}

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  area = SYS(mmap(NULL, PAGES * 4096ul, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  fill(area, PAGES * 4096ul, 1);
  uint64_t random = 12345;
  for (uint32_t i = 0; i < PAGES; i++) order[i] = i;
  for (uint32_t i = PAGES - 1; i > 0; i--) {
    random = random * 6364136223846793005ull + 1442695040888963407ull;
    uint32_t j = (uint32_t)((random >> 33) % (i + 1)), swap = order[i];
    order[i] = order[j];
    order[j] = swap;
  }
  ready();
  wait_for_go();
  pthread_t threads[4];
  for (int i = 0; i < 4; i++) CHECK(pthread_create(&threads[i], NULL, body, NULL) == 0, "pthread_create");
  for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
  return 0;
}
