// Compiled by show.py: processes with memory of known amounts, and first touches in a known order.
#include <pthread.h>

#include "scenario.h"

#define MIB (1ul << 20)
#define TOUCHES 200

static void* sleeper(void* arg) {
  for (;;) pause();
  return arg;
}

static void number_pages(volatile char* at, size_t size) {
  for (size_t i = 0; i < size; i += 4096) at[i] = (char)(1 + i / 4096 % 250);
}

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  char* private_memory = SYS(mmap(NULL, 32 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  char* reserved = SYS(mmap(NULL, 64 * MIB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  char* shared = SYS(mmap(NULL, 4 * MIB, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  number_pages(private_memory, 16 * MIB);
  number_pages(shared, MIB);
  pid_t child = SYS(fork());
  if (child == 0) {
    char* own = SYS(mmap(NULL, 8 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    number_pages(own, 8 * MIB);
    mark("child");
    for (;;) pause();
  }
  await_mark("child");
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, sleeper, NULL) == 0, "pthread_create");
  FILE* facts = SYS(fopen("facts", "w"));
  fprintf(facts, "{\"private\": %lu, \"reserved\": %lu, \"shared\": %lu, \"child\": %d, \"touches\": [", (unsigned long)private_memory, (unsigned long)reserved,
          (unsigned long)shared, child);
  for (size_t i = 0; i < TOUCHES; i++) fprintf(facts, "%s%lu", i ? ", " : "", (unsigned long)private_memory + i * 1237 % 4096 * 4096);
  fprintf(facts, "]}\n");
  fclose(facts);
  ready();
  wait_for_go();
  for (size_t i = 0; i < TOUCHES; i++) {
    const size_t page = i * 1237 % 4096;
    CHECK(((volatile char*)private_memory)[page * 4096] == (char)(1 + page % 250), "page %zu", page);
  }
  kill(child, SIGKILL);
  waitpid(child, NULL, 0);
  return 0;
}
