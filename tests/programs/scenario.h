#pragma once

// What every scenario program shares. A scenario sets something up, calls ready(), calls wait_for_go() and then checks that
// nothing has changed. In between it may have been dumped, killed and restored, any number of times: it must not be able to tell.
//
//   int main(int argc, char **argv) {
//     scenario_init(argc, argv);
//     ... set up, SYS(...) around calls that must work ...
//     ready();
//     wait_for_go();
//     CHECK(getpid() == pid, "pid is %d, was %d", getpid(), pid);
//     return 0;
//   }
//
// argv[1] is the scenario's own directory (absolute, writable, also the current directory). stdin is /dev/null, stdout and stderr
// are one log file. Exit status 0 = passed, 77 = skipped (with skip()), anything else = failed, the reason on stderr.
//
// Talking to the runner takes no descriptor, pipe or signal, because those are what is tested: ready() creates the file "ready",
// wait_for_go() polls for the file "go". Processes of one scenario talk alike with mark() and await_mark().
//
// Comments at the head of a program tell the runner (tests/runner/directives.py):
//   // about: one line
//   // expect: refused PART        the dump must refuse, with PART in its message; the program must go on unharmed
//   // options: --shell-job        given to dump and restore
//   // lazy-options: --prefetch none    given to a restore whose memory comes late
//   // modes: native eager         only these modes; the reason follows in a comment
//   // timeout: SECONDS            default 30
//   // differs: KEY REASON         the runner's own comparison of /proc before and after leaves out KEY (tests/runner/witness.py)

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define UNUSED __attribute__((unused))

static const char* scenario_dir;

// Ends the calling process (never only the thread). A child that fails makes its parent fail through join_child().
static inline void __attribute__((noreturn, format(printf, 2, 3))) fail_at(const char* where, const char* format, ...) {
  int saved = errno;
  char text[1024];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  dprintf(2, "FAIL: %s: %s [pid %d, errno %d: %s]\n", where, text, (int)syscall(SYS_getpid), saved, strerror(saved));
  _exit(1);
}

#define SCENARIO_STR2(x) #x
#define SCENARIO_STR(x) SCENARIO_STR2(x)
#define FAIL(...) fail_at(__FILE_NAME__ ":" SCENARIO_STR(__LINE__), __VA_ARGS__)
#define CHECK(condition, ...)            \
  do {                                   \
    if (!(condition)) FAIL(__VA_ARGS__); \
  } while (0)
// A call that must not return -1; its value.
#define SYS(call)                                  \
  ({                                               \
    errno = 0;                                     \
    __auto_type sys_value_ = (call);               \
    if ((long)sys_value_ == -1) FAIL("%s", #call); \
    sys_value_;                                    \
  })

static inline void __attribute__((noreturn, format(printf, 1, 2))) skip(const char* format, ...) {
  char text[1024];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  dprintf(2, "SKIP: %s\n", text);
  _exit(77);
}

// Path of a file in the scenario's directory; good until the eighth call after this one. Not for several threads.
static inline const char* path_in(const char* name) {
  static char paths[8][PATH_MAX];
  static unsigned next;
  char* path = paths[next++ % 8];
  snprintf(path, PATH_MAX, "%s/%s", scenario_dir, name);
  return path;
}

static inline void sleep_ms(long ms) {
  struct timespec left = {ms / 1000, ms % 1000 * 1000000};
  while (nanosleep(&left, &left) != 0 && errno == EINTR) {
  }
}

static inline double now_of(clockid_t clock) {
  struct timespec t;
  clock_gettime(clock, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static inline bool has_mark(const char* name) {
  char path[PATH_MAX];
  snprintf(path, sizeof path, "%s/%s", scenario_dir, name);
  return access(path, F_OK) == 0;
}

static inline void await_mark(const char* name) {
  while (!has_mark(name)) sleep_ms(5);
}

// The mark appears only when its descriptor is closed again: whoever sees it looks at our descriptors next.
static __attribute__((noinline)) UNUSED void mark(const char* name) {
  char path[PATH_MAX], draft[PATH_MAX + 16];
  snprintf(path, sizeof path, "%s/%s", scenario_dir, name);
  snprintf(draft, sizeof draft, "%s.%d", path, (int)syscall(SYS_gettid));
  int fd = SYS(open(draft, O_CREAT | O_WRONLY | O_CLOEXEC, 0666));
  close(fd);
  SYS(rename(draft, path));
}

static inline void scenario_init(int argc, char** argv) {
  if (argc < 2 || argv[1][0] != '/') {
    dprintf(2, "usage: %s DIRECTORY (absolute); started by tests/run\n", argv[0]);
    _exit(2);
  }
  scenario_dir = argv[1];
}

static inline void ready(void) { mark("ready"); }
static inline void wait_for_go(void) { await_mark("go"); }

// A child that runs `body` and ends with its value; dies with nobody, so that the runner's "nothing left behind" finds strays.
static inline UNUSED pid_t spawn(int (*body)(void*), void* arg) {
  pid_t pid = SYS(fork());
  if (pid == 0) _exit(body(arg));
  return pid;
}

// The child must end with status 0.
static inline UNUSED void join_child(pid_t pid) {
  int status;
  pid_t got;
  while ((got = waitpid(pid, &status, 0)) == -1 && errno == EINTR) {
  }
  CHECK(got == pid, "waitpid(%d) gives %d", pid, got);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, "child %d ended with wait status %#x", pid, status);
}

// State letter of a task of /proc/PID/stat; 0 when there is none. `tid` may be 0 for the main thread.
static inline UNUSED char task_state(pid_t pid, pid_t tid) {
  char path[64], text[512];
  snprintf(path, sizeof path, "/proc/%d/task/%d/stat", pid, tid ? tid : pid);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  ssize_t n = read(fd, text, sizeof text - 1);
  close(fd);
  if (n <= 0) return 0;
  text[n] = 0;
  char* end = strrchr(text, ')');
  return end ? end[2] : 0;
}

// Waits until the task is inside a blocking system call of that number (a thread that was told to block has got there).
static inline UNUSED void await_syscall(pid_t pid, pid_t tid, long nr) {
  char path[64], text[256];
  snprintf(path, sizeof path, "/proc/%d/task/%d/syscall", pid, tid);
  for (;;) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    CHECK(fd >= 0, "%s", path);
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    if (n > 0 && (text[n] = 0, strncmp(text, "running", 7)) != 0 && strtol(text, NULL, 0) == nr) return;
    sleep_ms(1);
  }
}

static inline UNUSED void await_state(pid_t pid, char state) {
  while (task_state(pid, 0) != state) {
    CHECK(task_state(pid, 0) != 0, "process %d is gone while waiting for state %c", pid, state);
    sleep_ms(1);
  }
}

// Contents that depend on seed and position, so that a page in the wrong place is found. 8-byte words.
static inline UNUSED uint64_t pattern_word(uint64_t seed, uint64_t index) {
  uint64_t x = (seed + 1) * 0x9e3779b97f4a7c15ull + index * 0xbf58476d1ce4e5b9ull;
  x ^= x >> 31;
  x *= 0x94d049bb133111ebull;
  return x ^ (x >> 29);
}

static inline UNUSED void fill(void* area, size_t bytes, uint64_t seed) {
  uint64_t* words = area;
  for (size_t i = 0; i < bytes / 8; i++) words[i] = pattern_word(seed, i);
}

static inline UNUSED void check_filled(const void* area, size_t bytes, uint64_t seed, const char* what) {
  const uint64_t* words = area;
  for (size_t i = 0; i < bytes / 8; i++)
    CHECK(words[i] == pattern_word(seed, i), "%s: word at offset %#zx is %#llx, should be %#llx", what, i * 8, (unsigned long long)words[i],
          (unsigned long long)pattern_word(seed, i));
}

static inline UNUSED void check_zero(const void* area, size_t bytes, const char* what) {
  const uint64_t* words = area;
  for (size_t i = 0; i < bytes / 8; i++)
    CHECK(words[i] == 0, "%s: word at offset %#zx is %#llx, should be 0", what, i * 8, (unsigned long long)words[i]);
}

// Reads a whole small file into a static-size buffer, 0-terminated; bytes read.
static inline UNUSED size_t slurp(const char* path, char* buffer, size_t size) {
  int fd = SYS(open(path, O_RDONLY | O_CLOEXEC));
  size_t used = 0;
  ssize_t n;
  while (used < size - 1 && (n = SYS(read(fd, buffer + used, size - 1 - used))) > 0) used += (size_t)n;
  close(fd);
  buffer[used] = 0;
  return used;
}

// Line of smaps (for example "VmFlags") of the area that holds `address`, without its name; "" when absent.
static inline UNUSED void smaps_field(const void* address, const char* field, char* out, size_t size) {
  FILE* f = fopen("/proc/self/smaps", "re");
  CHECK(f, "/proc/self/smaps");
  char line[512];
  unsigned long start, end;
  bool inside = false;
  size_t length = strlen(field);
  out[0] = 0;
  while (fgets(line, sizeof line, f)) {
    char dash;
    if (sscanf(line, "%lx%c%lx ", &start, &dash, &end) == 3 && dash == '-')
      inside = (unsigned long)address >= start && (unsigned long)address < end;
    else if (inside && strncmp(line, field, length) == 0 && line[length] == ':')
      snprintf(out, size, "%.*s", (int)size - 1, line + length + 1);
  }
  fclose(f);
}
