#pragma once

#include "browse/fuse/requests.h"
#include "browse/tree/data.h"

namespace faultline::browse {

// Bytes that one request may ask for. With its head it must fit into a pipe, which may have 1 MiB (fs.pipe-max-size) and holds one page per slot:
// what does not is copied twice.
inline constexpr size_t kLargestRead = 512 << 10;

// An open file.
struct FileHandle {
  FileDataPtr content;
  // Not through the kernel's page cache: there a short answer means that the file ends, and one that fails fails for all pages that were read ahead.
  // The memory of a process has holes everywhere; read like this it ends in front of them as /proc/PID/mem does.
  bool direct;
};

// Answers a read. Failures are noted.
void reply_read(fuse_req_t request, const FileHandle& file, uint64_t offset, size_t size, Connection& connection);

}  // namespace faultline::browse
