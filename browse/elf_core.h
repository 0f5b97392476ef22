#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "browse/address_space.h"
#include "browse/snapshot.h"

namespace faultline::browse {

// A process as an ELF core file, for debuggers. Nothing of its memory is held: the file is put together while it is read.
// One segment per area, with the contents of the area; none where they are those of a mapped file, unchanged, which debuggers open by its name
// (but the first page of an ELF file is there, because it identifies the file), and none where nobody could read any.
// Immutable; safe from any thread. Outlives the snapshot's caches, not the snapshot.
class ElfCore {
 public:
  // A thread whose image cannot be read is left out, and noted. Errors: those of Snapshot::memory() and core() where nothing is left to show,
  // ENOTSUP for a checkpoint of another architecture.
  static Result<std::shared_ptr<const ElfCore>> make(Snapshot& snapshot, uint32_t pid);

  uint64_t size() const { return offsets_.back(); }  // bytes of the file
  // Fills `to`; gives fewer bytes only at the end of the file. Errors: EIO if any of it is lost (zeros would lie), with the reason.
  Result<size_t> read(uint64_t offset, std::span<std::byte> to) const;
  // Where data (or a hole) next begins at or after `offset`; size() if nowhere before it. For SEEK_DATA and SEEK_HOLE.
  uint64_t next(bool data, uint64_t offset) const;
  // The run that begins at `offset`, at most up to `limit`; its `start` and `end` are offsets in this file. kHole: only read() knows what is there.
  AddressSpace::Run run_at(uint64_t offset, uint64_t limit) const;

 private:
  ElfCore() = default;
  // The segment with the byte at `offset`, which is behind the head and before the end.
  size_t segment_at(uint64_t offset) const;
  void read_head(uint64_t offset, std::span<std::byte> to) const;
  void lay_out();

  std::shared_ptr<const AddressSpace> memory_;
  std::string notes_;              // all of PT_NOTE
  uint64_t notes_at_ = 0;          // offset of it
  std::vector<uint64_t> offsets_;  // where the contents of each area begin, in the order of memory_->areas(); then the end of the file
};

}  // namespace faultline::browse
