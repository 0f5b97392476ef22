// about: memory with MADV_HUGEPAGE, into which a blocked read() will put its data, comes back page by page: no huge page of zeros stands in for what comes late

#include <pthread.h>

#include "scenario.h"

#define SIZE (8ul << 20)

static char* area;
static int ends[2];
static volatile pid_t tid;

static void* reader(void* arg) {
  tid = (pid_t)syscall(SYS_gettid);
  CHECK(read(ends[0], area + (4ul << 20), 5) == 5, "the blocked read()");
  return NULL;
}

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  SYS(pipe(ends));
  char* memory = SYS(mmap(NULL, SIZE + (2ul << 20), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  area = (char*)(((unsigned long)memory + (2ul << 20) - 1) & ~((2ul << 20) - 1));
  madvise(area, SIZE, MADV_HUGEPAGE);  // EINVAL on a kernel without huge pages, where nothing is to be seen
  fill((uint64_t*)area, SIZE, 1);
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, reader, NULL) == 0, "pthread_create");
  while (!tid) sleep_ms(1);
  await_syscall(getpid(), tid, SYS_read);
  ready();
  wait_for_go();
  CHECK(write(ends[1], "hello", 5) == 5, "write");
  pthread_join(thread, NULL);
  CHECK(memcmp(area + (4ul << 20), "hello", 5) == 0, "the data of the read");
  const uint64_t* words = (const uint64_t*)area;
  for (uint64_t w = 1; w < SIZE / 8; w++)
    if (w * 8 != 4ul << 20) CHECK(words[w] == pattern_word(1, w), "word %llu is %#llx", (unsigned long long)w, (unsigned long long)words[w]);
  return 0;
}
