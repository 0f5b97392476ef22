// about: vdso and vvar at their old addresses: pointers into them go on working, time goes on

#include <elf.h>
#include <link.h>
#include <sys/auxv.h>
#include <sys/time.h>

#include "scenario.h"

static void* find(const char* wanted) {
  const char* base = (const char*)getauxval(AT_SYSINFO_EHDR);
  if (!base) skip("this process has no vdso");
  const ElfW(Ehdr)* header = (const void*)base;
  const ElfW(Phdr)* phdr = (const void*)(base + header->e_phoff);
  const ElfW(Sym)* symbols = NULL;
  const char* strings = NULL;
  const uint32_t* hash = NULL;
  for (int i = 0; i < header->e_phnum; i++)
    if (phdr[i].p_type == PT_DYNAMIC)
      for (const ElfW(Dyn)* dyn = (const void*)(base + phdr[i].p_offset); dyn->d_tag != DT_NULL; dyn++) {
        if (dyn->d_tag == DT_SYMTAB) symbols = (const void*)(base + dyn->d_un.d_ptr);
        if (dyn->d_tag == DT_STRTAB) strings = base + dyn->d_un.d_ptr;
        if (dyn->d_tag == DT_HASH) hash = (const void*)(base + dyn->d_un.d_ptr);
      }
  if (!symbols || !strings || !hash) skip("this vdso has no symbol table of the old kind");
  for (uint32_t i = 0; i < hash[1]; i++)
    if (strcmp(strings + symbols[i].st_name, wanted) == 0) return (void*)(base + symbols[i].st_value);
  skip("no %s in the vdso", wanted);
}

int main(int argc, char** argv) {
  scenario_init(argc, argv);
#ifdef __x86_64__
  int (*clock)(clockid_t, struct timespec*) = find("__vdso_clock_gettime");
#else
  int (*clock)(clockid_t, struct timespec*) = find("__kernel_clock_gettime");
#endif
  struct timespec before, after, by_call;
  unsigned long base = getauxval(AT_SYSINFO_EHDR);
  CHECK(clock(CLOCK_MONOTONIC, &before) == 0, "vdso call");
  ready();
  wait_for_go();
  CHECK(clock(CLOCK_MONOTONIC, &after) == 0, "vdso call");
  CHECK(after.tv_sec * 1000000000 + after.tv_nsec > before.tv_sec * 1000000000 + before.tv_nsec, "time does not go on");
  SYS(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &by_call));
  double apart = (double)(by_call.tv_sec - after.tv_sec) + (double)(by_call.tv_nsec - after.tv_nsec) / 1e9;
  CHECK(apart >= 0 && apart < 1, "vdso and system call are %.3f s apart", apart);
  CHECK(memcmp((void*)base, ELFMAG, SELFMAG) == 0, "no vdso at %#lx any more", base);
  return 0;
}
