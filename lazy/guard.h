#pragma once

#include <sys/types.h>

#include <functional>
#include <utility>
#include <vector>

#include "lazy/farewell.h"
#include "lazy/fault_loop.h"

namespace faultline::lazy {

struct GuardOptions {
  LoopOptions loop;
  std::vector<std::pair<pid_t, uint32_t>> recorded_processes;  // whose first touches are written, with their private index
  int working_set_dir = -1;                                    // where to; -1: nowhere
  // Adds the address spaces while faults are served already; filling begins when it returns. It runs in the pager, once: a pager that
  // dies in it is not replaced. Unset: the table has them all.
  std::function<Result<void>(FaultLoop&)> feed;
  Watch watch;
  HeldTree tree;
  // The end of a pipe. A byte in it says that the processes were let go, its end without one that the restore died before: then they have not
  // run, or not all of them. -1: they run.
  int let_go = -1;
  std::vector<int> keep_fds;                                   // everything else is closed, but what the table needs
};

// Forks the guard. The guard shares its descriptor table with the pager that it forks, and the page state through the table's arena.
//
//   guard --(CLONE_FILES)--> pager: workers
//
// Why closing the last userfaultfd must not happen while pages are missing: the kernel wakes who waits, and they read zeros.
//  * the pager dies: the descriptors stay open in the guard, blocked threads stay blocked. The guard forks a new pager, which applies
//    what its predecessor had read, wakes everybody, and lost faults come again.
//  * the guard dies: the pager becomes the guard and forks a new pager.
//  * both die at once: nothing is left to help.
//  * the pager cannot be replaced (it dies again and again, or cannot be forked): the guard kills the restored processes.
// Waits until the first pager serves. Gives the guard's pid; it exits with 0 when the pager has nothing left to do.
// Errors: those of fork(2) and pipe(2); what kept the pager from starting.
Result<pid_t> start_guard(const Memory& memory, SpaceTable& table, const GuardOptions& options);

}  // namespace faultline::lazy
