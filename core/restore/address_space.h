#pragma once

#include <linux/prctl.h>

#include <functional>
#include <map>
#include <optional>
#include <span>
#include <vector>

#include "core/agent/program.h"
#include "core/image/checkpoint.h"
#include "core/restore/region.h"
#include "core/restore/shared_memory.h"
#include "core/sys/proc.h"

namespace faultline::restore {

// Pages that are with a page server and must be there at once: fetched ahead, into a file.
struct EarlyPages {
  int fd = -1;
  std::map<Vaddr, uint64_t> offsets;  // by address
};

// What all address spaces of a restore are built from.
struct SpaceContext {
  Range region;                               // stays mapped until the very end
  std::vector<sys::Area> own_special;         // vvar and vDSO as they stand in us, and so in every child
  std::function<int(uint32_t file_id)> fd_of; // descriptors for mappings
  const SharedMemory* shared = nullptr;       // tells which areas of shared memory come late
  const EarlyPages* early = nullptr;          // of this process; may be null
};

// A range that is registered with the process's userfaultfd.
struct LazyRange {
  Vaddr start;
  uint64_t length;
  std::optional<uint32_t> shmid;  // of shared memory
  uint64_t origin;                // the address (the offset, of shared memory) of its first page in its image
};

// Pages that the kernel itself will write or read for the threads before they run, or for others who look at the process: it must not have to
// wait for them.
std::vector<Vaddr> first_pages(const image::Task& task);
// Those of them that are with a page server.
std::vector<Vaddr> remote_first_pages(const image::Task& task);

// Builds the final address space of a process by operations of its program.
class SpaceBuilder {
 public:
  // `pages_fd`: the pages image of this task, in the child as here; -1 if nothing is stored.
  SpaceBuilder(const image::Task& task, const SpaceContext& context, int pages_fd);

  // Refuses what cannot be built: a vDSO of other size, areas of unknown kinds, pages outside of all areas.
  Result<void> check() const;
  // Gives up everything that is mapped but the region; then the vDSO, the areas, and the pages that cannot or should not come late.
  // No operation of it, or later, may touch other pages of ranges().
  void build(agent::Program& program);
  // Makes a userfaultfd for ranges(), sends it through `socket` with `token` in front, and closes it. Nothing if there are no ranges.
  void hand_over_faults(agent::Program& program, int socket, uint32_t token) const;
  // What prctl(2) knows of an address space. After hand_over_faults(), because from then on anybody reads the arguments.
  void set_layout(agent::Program& program) const;

  const std::vector<LazyRange>& ranges() const { return ranges_; }

 private:
  // A run of pages with contents and where they stand in the pages image; not `here`: with a page server.
  struct Stored { Vaddr start, end; uint64_t offset; bool here; };

  void give_up_old(agent::Program& program) const;
  void move_special(agent::Program& program) const;
  void map_area(const image::VmaEntry& vma, agent::Program& program);
  void read_pages(Vaddr start, Vaddr end, agent::Program& program) const;
  void read_first_pages(agent::Program& program) const;
  prctl_mm_map bounds() const;
  void hide_arguments(agent::Program& program) const;
  bool stored_in(const image::VmaEntry& vma) const;
  // The stored runs from the one on that ends behind `at`.
  std::span<const Stored> stored_from(Vaddr at) const;
  // In memory that comes late, but not stored: whoever touches it waits until faults are served.
  bool never_comes(Vaddr page) const;

  const image::Task& task_;
  const SpaceContext& context_;
  int pages_fd_;
  std::vector<Stored> stored_;  // ascending
  std::vector<LazyRange> ranges_;
};

}  // namespace faultline::restore
