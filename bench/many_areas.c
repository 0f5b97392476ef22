// Processes with very many areas of memory, for bench/show.py: many_areas AREAS TASKS READY. The areas are spread over the tasks.
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <signal.h>
#include <unistd.h>

static void map_areas(long count) {
  for (long i = 0; i < count; i++) {
    // Neighbours that differ stay apart.
    char* page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) {
      perror("mmap (sysctl vm.max_map_count?)");
      exit(1);
    }
    page[0] = (char)(i + 1);
    if (i % 2) mprotect(page, 4096, PROT_READ);
  }
}

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  const long areas = atol(argv[1]), tasks = atol(argv[2]);
  int done[2];
  char byte = 0;
  if (pipe(done) < 0) return 1;
  for (long i = 1; i < tasks; i++) {
    if (fork() == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      map_areas(areas / tasks);
      if (write(done[1], &byte, 1) != 1) return 1;
      close(done[0]), close(done[1]);
      for (;;) pause();
    }
  }
  map_areas(areas / tasks);
  for (long i = 1; i < tasks; i++)
    if (read(done[0], &byte, 1) != 1) return 1;
  close(done[0]), close(done[1]);
  close(open(argv[3], O_CREAT | O_WRONLY, 0600));
  for (;;) pause();
}
