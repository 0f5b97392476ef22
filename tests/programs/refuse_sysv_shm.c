// about: a System V shared memory segment is refused
// expect: refused SysV|System V|SYSV

#include <sys/ipc.h>
#include <sys/shm.h>

#include "scenario.h"

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  int id = SYS(shmget(IPC_PRIVATE, 65536, IPC_CREAT | 0600));
  char* area = SYS((char*)shmat(id, NULL, 0));
  fill(area, 65536, 1);
  ready();
  wait_for_go();
  check_filled(area, 65536, 1, "segment");
  SYS(shmctl(id, IPC_RMID, NULL));
  return 0;
}
