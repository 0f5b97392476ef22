// about: a process with a seccomp filter is refused by name, and its filter stays in force
// expect: refused seccomp

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>

#include "scenario.h"

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  struct sock_filter code[] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
                               BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getpriority, 0, 1),
                               BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | 42), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
  struct sock_fprog program = {4, code};
  SYS(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
  SYS(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0));
  ready();
  wait_for_go();
  CHECK(syscall(SYS_getpriority, 0, 0) == -1 && errno == 42, "the filter is gone");
  return 0;
}
