#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "core/base/mapping.h"
#include "core/base/result.h"

namespace faultline::sys {

// A file under /proc as text. Errors: ESRCH if the process is gone.
Result<std::string> read_proc(const std::string& path);
// Where a symbolic link under /proc leads.
Result<std::string> read_link(const std::string& path);

// What proc(5) says in /proc/PID/stat.
struct Stat {
  char state;           // R S D T t Z X ...
  pid_t ppid, pgrp, session;
  uint32_t flags;       // PF_*
  int cpu;              // on which it ran last
  uint32_t exit_code;   // wait status of a zombie
  uint64_t start_code, end_code, start_stack, start_data, end_data, start_brk, arg_start, arg_end, env_start, env_end;

  bool ended() const { return state == 'Z' || state == 'X'; }
};
Result<Stat> read_stat(pid_t pid);
Result<Stat> read_stat(pid_t pid, pid_t tid);  // of a thread

Result<std::vector<pid_t>> threads_of(pid_t pid);
// Children of all threads of a process, from /proc/PID/task/TID/children; reliable only while the process is stopped.
Result<std::vector<pid_t>> children_of(pid_t pid);

// A value of /proc/PID/status by its name ("Umask"), without blanks around it; empty if there is none.
std::string status_field(const std::string& status, std::string_view name);

// One area of an address space.
struct Area {
  Vaddr start, end;
  char perms[5];        // "rwxp"
  uint64_t offset;      // bytes
  uint32_t major, minor;
  uint64_t inode;
  std::string name;
  std::string flags;    // as in the line VmFlags of smaps: " rd wr mr mw me ac "

  bool has(const char* flag) const { return flags.find(std::string(" ") + flag + " ") != std::string::npos; }
  uint64_t size() const { return end - start; }
};
// All of a process, ascending, from /proc/PID/maps: `flags` stay empty.
Result<std::vector<Area>> read_maps(pid_t pid);
// With their flags, from /proc/PID/smaps, for which the kernel counts each page (60 ns): AreaReader has a faster way for large processes.
Result<std::vector<Area>> read_smaps(pid_t pid);

}  // namespace faultline::sys
