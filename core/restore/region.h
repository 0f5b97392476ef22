#pragma once

#include <atomic>
#include <cstring>
#include <span>
#include <utility>
#include <vector>

#include "core/agent/abi.h"
#include "core/agent/program.h"
#include "core/base/mapping.h"

namespace faultline::restore {

using Range = std::pair<Vaddr, Vaddr>;  // start, end

// What went wrong in a process that is being made, in memory that the coordinator sees.
struct Trouble {
  std::atomic<uint32_t> set;
  int32_t code;
  int32_t pid;
  char what[160];
};

// Memory that the coordinator and all processes in the making share, at one address that is free in all of them: the agent's code, the
// meeting point, the programs with their results, and stacks. It disappears from each process at the very end.
class Region {
 public:
  // Maps `size` bytes where none of the `taken` ranges is.
  static Result<Region> make(size_t size, std::vector<Range> taken);

  size_t used() const { return used_; }  // bytes
  Range range() const { return {base(), base() + memory_.size()}; }
  Vaddr run() const { return base() + agent::blob().run_offset; }
  Vaddr syscall_instruction() const { return syscall_; }
  agent::Barrier* barrier() const { return reinterpret_cast<agent::Barrier*>(memory_.data() + kControl); }
  Trouble* trouble() const { return reinterpret_cast<Trouble*>(barrier() + 1); }
  Vaddr address(const void* p) const { return reinterpret_cast<Vaddr>(p); }  // the same in all processes

  // Zeroed bytes, 16-byte aligned. Errors: ENOSPC.
  Result<Vaddr> take(size_t size);
  // Puts a program in, and finds it again for its results.
  Result<Vaddr> put(const agent::Program& program);
  std::span<const std::byte> bytes(Vaddr at, size_t size) const { return {reinterpret_cast<const std::byte*>(at), size}; }

 private:
  static constexpr size_t kControl = 4 * kPageSize;  // behind the code
  Vaddr base() const { return reinterpret_cast<Vaddr>(memory_.data()); }

  Mapping memory_;
  Vaddr syscall_ = 0;
  size_t used_ = 0;
};

}  // namespace faultline::restore
