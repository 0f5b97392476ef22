#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>

#include "browse/address_space.h"
#include "browse/elf_core.h"
#include "browse/images.h"
#include "browse/text/text.h"
#include "core/base/result.h"

namespace faultline::browse {

// What stands in one file of the mount. Immutable; safe from any thread.
class FileData {
 public:
  // Consecutive bytes that need not pass through us.
  struct Place {
    int fd;  // -1: they are zeros. Valid as long as this object
    uint64_t offset;
    uint64_t length;  // at least 1
  };

  virtual ~FileData() = default;
  virtual uint64_t size() const = 0;  // bytes
  // How much of it takes room: the rest is holes.
  virtual uint64_t stored() const { return size(); }
  // Fills `to`; gives fewer bytes only at the end, and in front of what cannot be read. Errors: EIO if that is the first byte, with the reason.
  virtual Result<size_t> read(uint64_t offset, std::span<std::byte> to) const = 0;
  // Where the bytes from `offset` on stand, at most up to `limit`, which is not behind the end. nullopt: only read() knows.
  virtual std::optional<Place> place(uint64_t offset, uint64_t limit) const {
    (void)offset, (void)limit;
    return std::nullopt;
  }
  // Where data (or a hole) next begins at or after `offset`; size() if nowhere before it.
  virtual uint64_t next(bool data, uint64_t offset) const { return data ? offset : size(); }
};

using FileDataPtr = std::shared_ptr<const FileData>;

// The contents of a small object.
FileDataPtr object_data(std::shared_ptr<const Content> content);
// Text that is small, in memory; what is larger is put into a file without a name, so that it takes no memory of ours.
Result<FileDataPtr> text_data(std::string text);
// The bytes [start, end) of an address space. What lies between the areas reads as EIO.
FileDataPtr memory_data(std::shared_ptr<const AddressSpace> memory, Vaddr start, Vaddr end);
// A shared memory object of `size` bytes.
FileDataPtr pages_data(std::shared_ptr<const StoredPages> pages, uint64_t size);
FileDataPtr core_data(std::shared_ptr<const ElfCore> core);
// An image as it is. `images` must outlive it.
FileDataPtr raw_data(Images& images, const Images::File& file);
// Where a run of memory stands, if it is a place.
std::optional<FileData::Place> place_of(const AddressSpace::Run& run);

}  // namespace faultline::browse
