// about: the robust futex list: same head in every thread, and a mutex whose owner dies afterwards is handed over

#include <linux/futex.h>
#include <pthread.h>

#include "scenario.h"

static pthread_mutex_t* mutex;
static volatile int go, started;

static struct robust_list_head* head_of(pid_t tid) {
  struct robust_list_head* head = NULL;
  size_t length = 0;
  SYS(syscall(SYS_get_robust_list, tid, &head, &length));
  CHECK(length == sizeof *head, "length of the robust list is %zu", length);
  return head;
}

static void* body(void* arg) {
  struct robust_list_head* head = head_of(0);
  __sync_fetch_and_add(&started, 1);
  while (!go) sleep_ms(10);
  CHECK(head_of(0) == head && head != NULL, "robust list head %p became %p", (void*)head, (void*)head_of(0));
  return NULL;
}

static int owner(void* arg) {
  CHECK(pthread_mutex_lock(mutex) == 0, "pthread_mutex_lock");
  mark("locked");
  wait_for_go();
  _exit(0);  // without unlocking: only the kernel can tell the others, through the robust list
}

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  mutex = SYS(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  pthread_mutexattr_t attr;
  pthread_mutexattr_init(&attr);
  pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
  pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
  pthread_mutex_init(mutex, &attr);
  pid_t child = spawn(owner, NULL);
  await_mark("locked");
  pthread_t threads[2];
  for (int i = 0; i < 2; i++) CHECK(pthread_create(&threads[i], NULL, body, NULL) == 0, "pthread_create");
  while (started < 2) sleep_ms(1);
  struct robust_list_head* mine = head_of(0);
  ready();
  wait_for_go();
  go = 1;
  CHECK(head_of(0) == mine, "robust list head of the main thread has changed");
  int err = pthread_mutex_lock(mutex);
  CHECK(err == EOWNERDEAD, "locking the mutex of a dead owner gives %d (%s)", err, strerror(err));
  join_child(child);
  for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
  return 0;
}
