// about: O_PATH descriptors (file, directory, symbolic link) and a directory read halfway

#include <dirent.h>

#include "scenario.h"

static int entries(int fd, char* seen, size_t size) {
  char buffer[280];
  int count = 0;
  for (;;) {
    long n = SYS(syscall(SYS_getdents64, fd, buffer, sizeof buffer));
    if (n == 0) return count;
    for (long at = 0; at < n; count++) {
      struct {
        uint64_t ino;
        int64_t off;
        uint16_t length;
        uint8_t type;
        char name[];
      }* entry = (void*)(buffer + at);
      size_t used = strlen(seen);
      snprintf(seen + used, size - used, "%s ", entry->name);
      at += entry->length;
    }
    if (strchr(seen, '!')) return count;  // halfway: the caller asked for one call only
  }
}

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  SYS(mkdir("dir", 0755));
  for (int i = 0; i < 100; i++) {
    char name[32];
    snprintf(name, sizeof name, "dir/file%02d", i);
    close(SYS(open(name, O_CREAT | O_WRONLY, 0600)));
  }
  SYS(symlink("dir/file00", "link"));
  int path = SYS(open("dir/file01", O_PATH)), dir_path = SYS(open("dir", O_PATH | O_DIRECTORY)),
      link = SYS(open("link", O_PATH | O_NOFOLLOW));
  int dir = SYS(open("dir", O_RDONLY | O_DIRECTORY));
  char seen[8192] = "!";
  int first = entries(dir, seen, sizeof seen);
  seen[0] = '.';
  ready();
  wait_for_go();
  CHECK(fcntl(path, F_GETFL) & O_PATH && fcntl(dir_path, F_GETFL) & O_PATH && fcntl(link, F_GETFL) & O_PATH, "O_PATH is lost");
  char byte, target[32] = "";
  CHECK(read(path, &byte, 1) == -1 && errno == EBADF, "an O_PATH descriptor can be read");
  int fd = SYS(openat(dir_path, "file02", O_RDONLY));
  close(fd);
  CHECK(readlinkat(link, "", target, sizeof target - 1) == 10 && strcmp(target, "dir/file00") == 0, "the link leads to \"%s\"", target);
  int rest = entries(dir, seen, sizeof seen);
  CHECK(first + rest == 102, "%d entries before and %d after, 102 in all", first, rest);
  for (int i = 0; i < 100; i++) {
    char name[32];
    snprintf(name, sizeof name, "file%02d ", i);
    CHECK(strstr(seen, name), "%s has not been seen", name);
  }
  return 0;
}
