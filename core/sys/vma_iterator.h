#pragma once

#include <sys/types.h>

#include <vector>

#include "core/base/mapping.h"
#include "core/base/unique_fd.h"

namespace faultline::sys {

// The kernel's own flags of the areas of a process, by a BPF program that the kernel runs over them (bpf(2), BPF_TRACE_ITER, "task_vma",
// of one process: Linux 6.1). /proc/PID/smaps tells the same in words, but for each area it counts every page: 60 ns for each.
class VmaIterator {
 public:
  struct Vma {
    Vaddr start, end;
    uint64_t flags;  // VM_..., whose numbers differ from kernel to kernel
  };

  // Takes 2 ms. Errors: EPERM without CAP_BPF and CAP_PERFMON; ENOENT for a kernel without the description of its types.
  static Result<VmaIterator> open();

  // The areas of a process, ascending; none for one that has ended. Without [vsyscall], which belongs to no process. Before Linux 6.1, those
  // of all processes: whoever asks compares with /proc/PID/maps.
  Result<std::vector<Vma>> read(pid_t pid) const;

 private:
  explicit VmaIterator(UniqueFd program) : program_(std::move(program)) {}
  UniqueFd program_;
};

}  // namespace faultline::sys
