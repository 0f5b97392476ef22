// about: 100000 random operations (write, check, fork, mremap, MADV_DONTNEED, munmap, mmap, mprotect) while memory is still coming back
// timeout: 120
// The model of what every page must hold is a number per page. The seed is printed; with FAULTLINE_SEED=N in the environment of tests/run a
// run is repeated.

#include <sys/mman.h>

#include "scenario.h"

#define SLOTS 64
#define SLOT_PAGES 64
#define OPERATIONS 100000

// What a page should hold: 0 = zeros, else the seed of its pattern. hole = not mapped.
static uint32_t model[SLOTS][SLOT_PAGES];
static char* slots[SLOTS];
static bool hole[SLOTS];
static uint64_t state;
static uint32_t next_seed = 1;

static uint32_t roll(uint32_t below) {
  state = state * 6364136223846793005ull + 1442695040888963407ull;
  return (uint32_t)(state >> 33) % below;
}

static void put(int slot, int page) {
  model[slot][page] = next_seed++;
  fill(slots[slot] + page * 4096, 4096, model[slot][page]);
}

// Cheap: the first, the last and one word in between; whole pages at the end.
static void check(int slot, int page, bool all) {
  const uint64_t* words = (const uint64_t*)(slots[slot] + page * 4096);
  uint32_t wanted = model[slot][page], between = roll(512);
  for (uint64_t w = 0; w < 512; w = all ? w + 1 : w == 0 ? between ? between : 511 : w == 511 ? 512 : 511) {
    uint64_t value = wanted ? pattern_word(wanted, w) : 0;
    CHECK(words[w] == value, "slot %d page %d word %d at %p is %#llx, should be %#llx", slot, page, (int)w, (const void*)&words[w],
          (unsigned long long)words[w], (unsigned long long)value);
  }
}

static char* new_slot(void) { return SYS(mmap(NULL, SLOT_PAGES * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)); }

static void fork_and_check(int slot) {
  pid_t pid = SYS(fork());
  if (pid == 0) {
    for (int i = 0; i < 200; i++) {
      int s = (int)roll(SLOTS), page = (int)roll(SLOT_PAGES);
      if (hole[s]) continue;
      check(s, page, false);
      if (i % 4 == 0) put(s, page), check(s, page, true);
    }
    _exit(0);
  }
  // Change the parent's copy while the child runs.
  for (int page = 0; page < SLOT_PAGES && !hole[slot]; page += 9) put(slot, page);
  join_child(pid);
}

static void operation(void) {
  int slot = (int)roll(SLOTS), page = (int)roll(SLOT_PAGES), count = 1 + (int)roll((uint32_t)(SLOT_PAGES - page));
  uint32_t kind = roll(1000);
  if (hole[slot]) {
    slots[slot] = new_slot();
    hole[slot] = false;
    memset(model[slot], 0, sizeof model[slot]);
  } else if (kind < 500) {
    check(slot, page, false);
  } else if (kind < 850) {
    put(slot, page);
  } else if (kind < 920) {
    SYS(madvise(slots[slot] + page * 4096, (size_t)count * 4096, MADV_DONTNEED));
    memset(&model[slot][page], 0, (size_t)count * sizeof model[0][0]);
  } else if (kind < 960) {
    char* to = SYS(mmap(NULL, SLOT_PAGES * 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    slots[slot] = SYS(mremap(slots[slot], SLOT_PAGES * 4096, SLOT_PAGES * 4096, MREMAP_MAYMOVE | MREMAP_FIXED, to));
  } else if (kind < 975) {
    SYS(munmap(slots[slot], SLOT_PAGES * 4096));
    hole[slot] = true;
  } else if (kind < 998) {
    SYS(mprotect(slots[slot] + page * 4096, (size_t)count * 4096, PROT_NONE));
    SYS(mprotect(slots[slot] + page * 4096, (size_t)count * 4096, PROT_READ | PROT_WRITE));
  } else {
    fork_and_check(slot);
  }
}

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  const char* seed = getenv("FAULTLINE_SEED");
  state = seed ? strtoull(seed, NULL, 0) : (uint64_t)time(NULL) * 1000003 + (uint64_t)getpid();
  dprintf(1, "seed %llu\n", (unsigned long long)state);
  for (int slot = 0; slot < SLOTS; slot++) {
    slots[slot] = new_slot();
    for (int page = 0; page < SLOT_PAGES; page++)
      if ((page + slot) % 11) put(slot, page);
  }
  ready();
  wait_for_go();
  for (int i = 0; i < OPERATIONS; i++) operation();
  for (int slot = 0; slot < SLOTS; slot++)
    for (int page = 0; page < SLOT_PAGES; page++)
      if (!hole[slot]) check(slot, page, true);
  return 0;
}
