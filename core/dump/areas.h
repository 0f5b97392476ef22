#pragma once

#include <map>
#include <string>
#include <vector>

#include "core/image/checkpoint.h"
#include "core/objects/files.h"
#include "core/sys/area_reader.h"

namespace faultline::dump {

// A run of addresses whose pages may hold contents of the process's own.
struct PrivateRange {
  Vaddr start, end;
  bool file;      // pages that are still the file's are not stored
  bool lazy;      // may be delivered after the process runs again
};

struct AddressSpace {
  std::vector<image::VmaEntry> vmas;
  std::vector<PrivateRange> ranges;
};

// Translates the areas of a frozen process. Files that are mapped are made known to `files`.
// Errors: ENOTSUP naming the area and the reason for what cannot be checkpointed.
Result<AddressSpace> collect_areas(pid_t pid, sys::AreaReader& reader, objects::FileCollector& files);

}  // namespace faultline::dump
