#pragma once

#include <sys/user.h>

#include <functional>
#include <optional>
#include <vector>

#include "core/image/checkpoint.h"
#include "core/restore/region.h"
#include "core/sys/ptrace.h"

namespace faultline::restore {

// A living process at the end of its program: all threads wait in the agent to be taken over.
struct Parked {
  const image::Task* task;
  // For threads that go back into an interrupted call: the program that makes it, and the number of that operation.
  struct Call { const agent::ProgramHeader* program; uint32_t op; };
  std::vector<std::optional<Call>> calls;  // by index of the thread (0: the leader)
};

// The switch: every thread gets its final registers and signal mask, the region disappears, and the processes run.
class Takeover {
 public:
  // `outer` translates a pid of the images into the one by which we know it.
  Takeover(const Region& region, const image::Checkpoint& checkpoint, std::function<pid_t(pid_t)> outer)
      : region_(region), checkpoint_(checkpoint), outer_(std::move(outer)) {}

  // Stops all threads and puts them into their final state. After an error the processes must be ended.
  Result<void> prepare(const std::vector<Parked>& processes);
  // From here on they outlive us: if we are killed, the kernel lets all of them run. Before, it kills them. Call before release().
  Result<void> outlive_us();
  // Lets them run. `stop`: all of them stay stopped, as after SIGSTOP; else only those that were.
  Result<void> release(bool stop);
  // Waits for the end of all threads, which have been killed: as long as their tracer has not seen it, nobody else does.
  void bury();

 private:
  struct Process {
    const Parked* parked;
    std::vector<sys::Tracee> threads;
  };

  Result<void> stop(Process& process);
  // Makes the leader, which is stopped with the registers `general`, call the kernel from inside the region.
  Result<void> call(sys::Tracee& leader, const user_regs_struct& general, long nr, const uint64_t (&args)[6], const char* what);
  Result<void> leave_region(Process& process);
  Result<void> set_final(Process& process, size_t thread);

  const Region& region_;
  const image::Checkpoint& checkpoint_;
  std::function<pid_t(pid_t)> outer_;
  std::vector<Process> processes_;
};

}  // namespace faultline::restore
