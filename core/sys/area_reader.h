#pragma once

#include <map>
#include <optional>

#include "core/sys/proc.h"
#include "core/sys/vma_iterator.h"

namespace faultline::sys {

// The words of smaps for the kernel's flags of areas ("mw" for VM_MAYWRITE). The numbers of the flags are no ABI: they are learned from areas
// of this process, whose flags the kernel tells both ways. smaps names the bits of an area in ascending order.
class FlagWords {
 public:
  // Makes a few areas with rare flags for it, for as long as it takes. Errors: EPROTO if the two ways contradict each other.
  static Result<FlagWords> learn(const VmaIterator& vmas);

  // " rd wr mr mw me ac "; nullopt if there is a flag that was not learned.
  std::optional<std::string> words(uint64_t flags) const;

 private:
  Result<void> learn(uint64_t flags, const std::string& words);
  std::map<int, std::string> words_;  // of each bit
};

// Reads the areas of processes with their flags; of large ones without smaps, where the kernel and our privileges allow that. Not thread-safe.
class AreaReader {
 public:
  // The process must stand still. Errors: ESRCH, EACCES.
  Result<std::vector<Area>> read(pid_t pid);

  // One of its two ways. Errors: EPERM, ENOENT as VmaIterator::open(); ENOTSUP if an area has a flag that was not learned.
  Result<std::vector<Area>> read_by_iterator(pid_t pid);

 private:
  struct Tools {
    VmaIterator vmas;
    FlagWords words;
  };
  static Result<Tools> open();

  std::optional<Result<Tools>> tools_;  // opened when they are needed
};

}  // namespace faultline::sys
