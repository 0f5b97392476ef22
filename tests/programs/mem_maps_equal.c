// about: /proc/self/maps and the flags of every area, word for word, in a process with 400 areas of many kinds

#include <sys/mman.h>

#include "scenario.h"

// Numbers that a checkpoint cannot keep (inode numbers of shared memory) are left out; so are userfaultfd and soft-dirty flags.
static size_t look(char* out, size_t size) {
  static char text[1 << 20];
  size_t used = 0;
  slurp("/proc/self/smaps", text, sizeof text);
  char area[512] = "", *save, *line = strtok_r(text, "\n", &save);
  for (; line; line = strtok_r(NULL, "\n", &save)) {
    unsigned long start, end, offset, inode;
    char perms[8], dev[16];
    int path = 0;
    if (sscanf(line, "%lx-%lx %7s %lx %15s %lu %n", &start, &end, perms, &offset, dev, &inode, &path) >= 6 && path) {
      bool deleted = strstr(line, "(deleted)") != NULL;
      snprintf(area, sizeof area, "%lx-%lx %s %lx %s %lu %s", start, end, perms, offset, dev, deleted ? 0 : inode, line + path);
    } else if (strncmp(line, "VmFlags:", 8) == 0) {
      used += (size_t)snprintf(out + used, size - used, "%s:", area);
      char *save2, *flag = strtok_r(line + 8, " ", &save2);
      for (; flag; flag = strtok_r(NULL, " ", &save2))
        if (strcmp(flag, "sd") && strcmp(flag, "um") && strcmp(flag, "uw") && strcmp(flag, "ui"))
          used += (size_t)snprintf(out + used, size - used, " %s", flag);
      used += (size_t)snprintf(out + used, size - used, "\n");
    }
  }
  return used;
}

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  static char before[1 << 18], after[1 << 18];
  int fd = SYS(open("data", O_RDWR | O_CREAT, 0644));
  SYS(ftruncate(fd, 1 << 20));
  int memfd = SYS(memfd_create("areas", 0));
  SYS(ftruncate(memfd, 1 << 20));
  static const int prots[] = {PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE, PROT_READ | PROT_EXEC};
  for (int i = 0; i < 400; i++) {
    int flags = i % 5 == 0 ? MAP_SHARED | MAP_ANONYMOUS : i % 5 == 1 ? MAP_SHARED : i % 5 == 2 ? MAP_PRIVATE : MAP_PRIVATE | MAP_ANONYMOUS;
    if (i % 7 == 0) flags |= MAP_NORESERVE;
    char* area = SYS(mmap(NULL, 4096ul * (unsigned)(1 + i % 4), prots[i / 5 % 4], flags,
                          flags & MAP_ANONYMOUS ? -1
                          : i % 3               ? fd
                                                : memfd,
                          i % 10 * 4096));
    if (prots[i / 5 % 4] & PROT_WRITE && i % 2) area[0] = 'x';
  }
  look(before, sizeof before);  // the first call may itself move the heap
  memset(before, 0, sizeof before);
  size_t length = look(before, sizeof before);
  ready();
  wait_for_go();
  look(after, sizeof after);
  for (size_t i = 0, line = 0; i < length; i++) {
    if (before[i] == '\n') line = i + 1;
    CHECK(before[i] == after[i], "\"%.*s\" became \"%.*s\"", (int)strcspn(before + line, "\n"), before + line,
          (int)strcspn(after + line, "\n"), after + line);
  }
  CHECK(after[length] == 0, "new area \"%.*s\"", (int)strcspn(after + length, "\n"), after + length);
  return 0;
}
