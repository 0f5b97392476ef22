#pragma once

#include <functional>
#include <vector>

#include "core/dump/areas.h"
#include "core/image/image_dir.h"

namespace faultline::dump {

struct MemoryCounts {
  uint64_t pages_scanned = 0;
  uint64_t pages_written = 0;
};

// Called with bytes that were written, from two threads. An error ends the writing.
using Written = std::function<Result<void>(uint64_t bytes)>;

// Writes pagemap-<pid>.img and pages-<pages_id>.img. Pages that were never touched, zero pages and unchanged pages of files are left out.
// `stack_pages` are not to be delivered late. Memory use does not depend on the size of the process. Nothing is written (and `pages_id`
// is not used) if there is no content. The process is frozen.
Result<MemoryCounts> write_memory(pid_t pid, const AddressSpace& space, const std::vector<Vaddr>& stack_pages, const image::ImageDir& dir,
                                  uint32_t pages_id, const Written& written);

// The same for a memory object: pagemap-shmem-<shmid>.img; holes are left out.
Result<MemoryCounts> write_shared(const objects::SharedObject& object, const image::ImageDir& dir, uint32_t pages_id, const Written& written);

}  // namespace faultline::dump
