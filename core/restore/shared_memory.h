#pragma once

#include <cstdint>
#include <map>
#include <set>

#include "core/image/checkpoint.h"
#include "core/image/image_dir.h"
#include "lazy/remote.h"

namespace faultline::restore {

// Memory that several processes share (formats: memfd.img, pagemap-shmem-*.img): shared anonymous mappings and memfds.
//
// It can come late as private memory does, if every way to it leads through a mapping that a userfaultfd can watch. A descriptor is
// another way: read(2) of a page that has not arrived gives zeros and tells nobody. So an object that is open anywhere in the tree, or that
// is mapped privately, without the right to write, or locked, is filled before anything runs.
class SharedMemory {
 public:
  // Nothing comes late unless `lazy`. All must outlive this.
  SharedMemory(const image::ImageDir& dir, const image::Checkpoint& checkpoint, bool lazy);

  // The shmid of the object behind an area, if it comes late.
  const uint32_t* late(const image::VmaEntry& vma) const;
  std::set<uint32_t> late_objects() const;

  // Puts the contents into the object `shmid`, open as `to`; of one that comes late, only the pages that must be there at first.
  // `remote`: where those are that are not in the images, or nullptr; those that come late are left to the pager.
  Result<void> fill(uint32_t shmid, int to, const lazy::RemoteOptions* remote) const;

 private:
  // `only`: these pages; nullptr: all that are with the page server.
  Result<void> fetch(const image::Pagemap& map, int to, uint64_t size, uint32_t shmid, const std::set<uint64_t>* only, const lazy::RemoteOptions& remote) const;
  Result<void> copy(int pages, off_t from, int to, uint64_t at, uint64_t end, uint32_t shmid) const;

  const image::ImageDir& dir_;
  const image::Checkpoint& checkpoint_;
  std::map<uint32_t, uint32_t> late_;               // file id → shmid
  std::map<uint32_t, std::set<uint64_t>> at_once_;  // shmid → offsets of pages
};

}  // namespace faultline::restore
