// about: memfd: name, size, contents, seals, offset; mapped shared and private; one object in two processes

#include <sys/mman.h>

#include "scenario.h"

#define SIZE (64 * 4096)

static int fd;
static char* map;

static int child(void* arg) {
  mark("child");
  wait_for_go();
  while (*(volatile char*)map != 'P') sleep_ms(2);
  SYS(pwrite(fd, "C", 1, 1));
  return 0;
}

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  fd = SYS(memfd_create("first one", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  int sealed = SYS(memfd_create("sealed", MFD_ALLOW_SEALING)), unmapped = SYS(memfd_create("", 0));
  SYS(ftruncate(fd, SIZE));
  map = SYS(mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
  char* private = SYS(mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0));
  fill(map + 4096, 8192, 1);
  fill(private + 8192, 4096, 2);
  SYS(write(sealed, "contents", 8));
  SYS(fcntl(sealed, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW));
  SYS(write(unmapped, "0123456789", 10));
  SYS(lseek(unmapped, 4, SEEK_SET));
  pid_t pid = spawn(child, NULL);
  await_mark("child");
  ready();
  wait_for_go();
  check_filled(map + 4096, 8192, 1, "shared mapping");
  check_filled(private + 8192, 4096, 2, "private mapping");
  CHECK(memcmp(private + 4096, map + 4096, 4096) == 0, "private mapping, unchanged page");
  check_zero(map + 16 * 4096, 4096, "hole");
  CHECK(fcntl(sealed, F_GET_SEALS) == (F_SEAL_WRITE | F_SEAL_GROW), "seals are %#x", fcntl(sealed, F_GET_SEALS));
  CHECK(fcntl(fd, F_GET_SEALS) == 0 && fcntl(unmapped, F_GET_SEALS) == F_SEAL_SEAL, "seals are %#x, %#x", fcntl(fd, F_GET_SEALS),
        fcntl(unmapped, F_GET_SEALS));
  CHECK(fcntl(fd, F_GETFD) == FD_CLOEXEC && fcntl(sealed, F_GETFD) == 0, "close-on-exec");
  char text[16] = "";
  CHECK(read(unmapped, text, 16) == 6 && memcmp(text, "456789", 6) == 0, "the rest of the third one is \"%s\"", text);
  CHECK(pread(sealed, text, 16, 0) == 8 && memcmp(text, "contents", 8) == 0 && lseek(sealed, 0, SEEK_CUR) == 8, "the sealed one");
  struct stat st;
  SYS(fstat(fd, &st));
  CHECK(st.st_size == SIZE, "size is %ld", (long)st.st_size);
  map[0] = 'P';
  join_child(pid);
  CHECK(map[1] == 'C', "descriptor and mapping are not of one object any more");
  return 0;
}
