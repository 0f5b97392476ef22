#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/base/unique_fd.h"
#include "pageserver/protocol.h"

namespace faultline::pageserver {

// Where consecutive pages are to be had.
struct Place {
  uint64_t pages = 0;   // at least 1, at most as many as were asked for
  int fd = -1;          // of a file that has them, valid as long as the source; -1: PageSource::copy() gives them
  uint64_t offset = 0;  // in the file, bytes
};

// A file that a client may fetch: one of these three.
struct ServedFile {
  std::shared_ptr<const UniqueFd> fd;               // as it is, `size` bytes of it
  std::shared_ptr<const std::string> text;          // made here
  std::shared_ptr<const std::vector<Range>> pages;  // the contents of these pages, in order
  uint64_t size = 0;
};

// What one name stands for: a checkpoint in a directory, or frozen processes. Shared by the sessions of all workers: every member may be
// called from any thread, and none but list_files() may wait for anything but a short read of metadata from a disk.
class PageSource {
 public:
  virtual ~PageSource() = default;

  virtual SourceKind kind() const { return SourceKind::kStored; }
  // Finds the first pages of `range`, which was checked by decode_ranges(). Errors: ENOENT if the first page is not there, EBADMSG for
  // images that are malformed.
  virtual Result<Place> locate(const Range& range) = 0;
  // Pages for which locate() gave no file. Errors: ESRCH if the process is gone.
  virtual Result<void> copy(const Range& range, std::span<std::byte> to);
  // The text that answers FILES. May take long: by no thread that serves.
  virtual Result<std::shared_ptr<const std::string>> list_files() = 0;
  // Whether open_file() can be called: list_files() was, or is not needed for it.
  virtual bool listed() const { return true; }
  // Errors: ENOENT, or why list_files() has failed.
  virtual Result<ServedFile> open_file(const std::string& name) = 0;

  // What a live source does at OPEN, COMMIT, DONE and REVOKED (PROTOCOL.md, section 5); an error is sent to the client as FAILED, and
  // ends the connection if it comes from opened(). Stored pages can be read by anybody at any time: nothing to do.
  // A client of CRIU's protocol has the number 0; its first GET is OPEN and COMMIT, its CLOSE is DONE.
  virtual Result<void> opened(uint64_t client);
  // A connection for which opened() was called, and succeeded, has ended.
  virtual void closed(uint64_t client);
  virtual Result<void> commit(uint64_t client);
  virtual Result<void> done(uint64_t client);
  virtual void revoked(uint64_t client);
  // Whether clients that connect now are to be sent REVOKE at once.
  virtual bool is_revoking() const { return false; }
};

// The sources of a server.
class Sources {
 public:
  virtual ~Sources() = default;
  // The source of this name, for which valid_name() is true. Any thread. Errors: ENOENT, EBADMSG.
  virtual Result<std::shared_ptr<PageSource>> find(const std::string& name) = 0;
  // The names, one per line. May take long: by no thread that serves.
  virtual Result<std::string> names() = 0;
};

}  // namespace faultline::pageserver
