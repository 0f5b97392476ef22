#pragma once

#include <vector>

#include "core/dump/areas.h"
#include "core/dump/page_store.h"

namespace faultline::dump {

struct MemoryCounts {
  uint64_t pages_scanned = 0;
  uint64_t pages_written = 0;
  uint64_t pages_left = 0;  // that are fetched from the process later
};

// What becomes of pages that may come when the process runs again.
enum class LatePages : uint32_t { kStored = image::kPagePresent | image::kPageLazy, kLeft = image::kPageLazy };

// Puts the memory of a frozen process into `store`. Pages that were never touched, zero pages and unchanged pages of files are left out.
// `stack_pages` are not to be delivered late.
Result<MemoryCounts> write_memory(pid_t pid, const AddressSpace& space, const std::vector<Vaddr>& stack_pages, LatePages late, PageStore& store);

// The same for a memory object; holes are left out.
// Whether they may come late is for restore to find out: it knows what leads to the object.
Result<MemoryCounts> write_shared(const objects::SharedObject& object, PageStore& store);

}  // namespace faultline::dump
