#include "core/restore/region.h"

#include <sys/mman.h>

#include <algorithm>

#include "arch/entry.h"

namespace faultline::restore {

namespace {

// Away from where programs, heaps, stacks and libraries are put, and from the lowest addresses.
constexpr Vaddr kLowest = 0x10'0000'0000, kHighest = 0x7000'0000'0000;
constexpr Vaddr kMargin = 1 << 20;  // stacks may grow

Result<Vaddr> free_address(size_t size, std::vector<Range> taken) {
  std::sort(taken.begin(), taken.end());
  Vaddr at = kLowest;
  for (const auto& [start, end] : taken) {
    if (end <= at) continue;
    if (start >= at + size + 2 * kMargin) break;
    at = page_up(end);
  }
  if (at + size + 2 * kMargin > kHighest) return error(ENOMEM, "there is no free range of {} bytes that is the same in all processes", size);
  return at + kMargin;
}

}  // namespace

Result<Region> Region::make(size_t size, std::vector<Range> taken) {
  Region region;
  const agent::Blob blob = agent::blob();
  FL_CHECK(blob.code.size() + 16 <= kControl);
  const Vaddr at = TRY(free_address(size, std::move(taken)));
  void* start = ::mmap(reinterpret_cast<void*>(at), size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
  if (start == MAP_FAILED) return sys_error("{} bytes at {:#x} for the agent", size, at);
  region.memory_ = Mapping::adopt(start, size);
  std::memcpy(start, blob.code.data(), blob.code.size());
  const auto instruction = arch::syscall_instruction();
  region.syscall_ = at + ((blob.code.size() + 15) & ~size_t{15});
  std::memcpy(reinterpret_cast<void*>(region.syscall_), instruction.data(), instruction.size());
  if (::mprotect(start, kControl, PROT_READ | PROT_EXEC) < 0) return sys_error("the agent's code cannot be made executable");
  region.used_ = kControl + kPageSize;
  static_assert(sizeof(agent::Barrier) + sizeof(Trouble) <= kPageSize);
  return region;
}

Result<Vaddr> Region::take(size_t size) {
  const size_t at = (used_ + 15) & ~size_t{15};
  if (size > memory_.size() - at) return error(ENOSPC, "the programs of this tree take more than {} bytes", memory_.size());
  used_ = at + size;
  return base() + at;
}

Result<Vaddr> Region::put(const agent::Program& program) {
  const Vaddr at = TRY(take(program.size()));
  program.load(at, {reinterpret_cast<std::byte*>(at), program.size()});
  return at;
}

}  // namespace faultline::restore
