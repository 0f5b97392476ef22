// about: code that the program has written itself (a just-in-time compiler) and a breakpoint-like change in its own text

#include "scenario.h"

#ifdef __x86_64__
static int __attribute__((noinline, aligned(4096))) patched(void) { return 1111; }

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  // mov $imm32, %eax; ret
  unsigned char* code = SYS(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  memcpy(code, "\xb8\x39\x30\x00\x00\xc3", 6);
  SYS(mprotect(code, 4096, PROT_READ | PROT_EXEC));
  SYS(mprotect((void*)((uintptr_t)patched & ~4095ul), 4096, PROT_READ | PROT_WRITE | PROT_EXEC));
  memcpy((void*)patched, "\xb8\xae\x08\x00\x00\xc3", 6);
  SYS(mprotect((void*)((uintptr_t)patched & ~4095ul), 4096, PROT_READ | PROT_EXEC));
  int (*generated)(void) = (int (*)(void))code;
  int (*volatile changed)(void) = patched;
  CHECK(generated() == 12345 && changed() == 2222, "code gives %d, %d", generated(), changed());
  ready();
  wait_for_go();
  CHECK(generated() == 12345, "generated code gives %d", generated());
  CHECK(changed() == 2222, "changed program text gives %d", changed());
  return 0;
}
#else
int main(void) { skip("written for x86_64 only"); }
#endif
