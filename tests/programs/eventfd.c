// about: eventfd: zero, small and largest counter, semaphore mode, flags, shared with a child

#include <sys/eventfd.h>

#include "scenario.h"

static int shared;

static int child(void* arg) {
  uint64_t value;
  mark("child");
  CHECK(read(shared, &value, 8) == 8 && value == 5, "the child reads %llu", (unsigned long long)value);
  return 0;
}

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  int zero = SYS(eventfd(0, EFD_NONBLOCK)), big = SYS(eventfd(7, EFD_CLOEXEC)), semaphore = SYS(eventfd(3, EFD_SEMAPHORE | EFD_NONBLOCK));
  shared = SYS(eventfd(0, 0));
  uint64_t largest = 0xfffffffffffffffe - 7, value;
  SYS(write(big, &largest, 8));
  pid_t pid = spawn(child, NULL);
  await_mark("child");
  await_syscall(pid, pid, SYS_read);
  ready();
  wait_for_go();
  CHECK(read(zero, &value, 8) == -1 && errno == EAGAIN, "the empty one is readable");
  CHECK(read(big, &value, 8) == 8 && value == 0xfffffffffffffffe, "the big one holds %llx", (unsigned long long)value);
  for (int i = 0; i < 3; i++) CHECK(read(semaphore, &value, 8) == 8 && value == 1, "semaphore gives %llu", (unsigned long long)value);
  CHECK(read(semaphore, &value, 8) == -1 && errno == EAGAIN, "the semaphore holds more than 3");
  CHECK(fcntl(big, F_GETFD) == FD_CLOEXEC && fcntl(zero, F_GETFL) == (O_RDWR | O_NONBLOCK), "flags");
  value = 5;
  SYS(write(shared, &value, 8));
  join_child(pid);
  return 0;
}
