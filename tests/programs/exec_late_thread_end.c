// about: a thread ends before the memory has come in which the kernel is to say so: the word of set_tid_address, the robust list and its futexes
// lazy-options: --prefetch none

#include <linux/futex.h>
#include <pthread.h>

#include "scenario.h"

#define PAGE 4096L
#define AT(area, number) ((area) + (number) * 8 * PAGE)  // each on a page of its own, with others between them

// A futex of the list is so far behind its node that it stands on another page.
#define TO_FUTEX (4 * PAGE + 64)

static char *near, *far;  // private and shared memory
static pid_t tid;

static struct robust_list* node(int number) { return (struct robust_list*)AT(number % 2 ? far : near, number); }
static volatile uint32_t* futex_of(struct robust_list* entry) { return (volatile uint32_t*)((char*)entry + TO_FUTEX); }

enum { NODES = 6, PENDING = 6, HEAD = 8, WORD = 10 };

static void* body(void* arg) {
  uint32_t self = (uint32_t)syscall(SYS_gettid);
  struct robust_list_head* head = (void*)AT(near, HEAD);
  head->futex_offset = TO_FUTEX;
  head->list.next = node(0);
  for (int i = 0; i < NODES; i++) node(i)->next = i + 1 < NODES ? node(i + 1) : &head->list;
  head->list_op_pending = node(PENDING);
  for (int i = 0; i <= PENDING; i++) *futex_of(node(i)) = self | FUTEX_WAITERS;
  uint32_t* word = (void*)AT(near, WORD);
  *word = self;
  SYS(syscall(SYS_set_robust_list, head, sizeof *head));
  SYS(syscall(SYS_set_tid_address, word));
  __atomic_store_n(&tid, (pid_t)self, __ATOMIC_SEQ_CST);
  wait_for_go();
  syscall(SYS_exit, 0);
  return NULL;
}

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  near = SYS(mmap(NULL, 128 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  far = SYS(mmap(NULL, 128 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, body, NULL) == 0, "pthread_create");
  while (__atomic_load_n(&tid, __ATOMIC_SEQ_CST) == 0) sleep_ms(1);
  ready();
  wait_for_go();
  // Looked at only when the thread has ended: a page that is looked at comes.
  char path[64];
  snprintf(path, sizeof path, "/proc/self/task/%d", tid);
  while (access(path, F_OK) == 0) sleep_ms(1);
  CHECK(*(uint32_t*)AT(near, WORD) == 0, "the word of set_tid_address is %u, not 0", *(uint32_t*)AT(near, WORD));
  for (int i = 0; i <= PENDING; i++)
    CHECK(*futex_of(node(i)) == (FUTEX_OWNER_DIED | FUTEX_WAITERS), "the futex of node %d is %#x: nobody was told that its owner has died", i, *futex_of(node(i)));
  return 0;
}
