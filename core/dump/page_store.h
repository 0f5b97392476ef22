#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>

#include "core/dump/memory_reader.h"
#include "core/image/image_dir.h"
#include "pageserver/protocol.h"
#include "pageserver/stream.h"

namespace faultline::dump {

// Consecutive pages that are treated alike: one entry of a pagemap.
struct PageRun {
  Vaddr start;
  uint64_t pages;
  uint32_t flags;  // image::kPage...

  Vaddr end() const { return start + pages * kPageSize; }
};

// Called with bytes that were stored, from two threads. An error ends the storing.
using Written = std::function<Result<void>(uint64_t bytes)>;

// So much memory is read, and stored, at a time: small enough to stay in the cache in between.
inline constexpr size_t kStoreChunk = 256 << 10;

// Where a dump puts memory. One object (a task's memory, or a shared one) after the other. Memory use does not depend on their size.
class PageStore {
 public:
  virtual ~PageStore() = default;
  virtual Result<void> begin(pageserver::ObjectId object) = 0;
  // Runs in ascending order. The contents of those that are kPagePresent are read from `memory` before this returns.
  virtual Result<void> put(std::span<const PageRun> runs, const MemoryReader& memory) = 0;
  virtual Result<void> end() = 0;
  // After the last object. Only if it succeeds, all of it is stored.
  virtual Result<void> finish() = 0;
};

// pagemap-*.img and pages-*.img in `dir`. With `sync`, pages are on their way to the disk from the moment they are written.
std::unique_ptr<PageStore> file_store(const image::ImageDir& dir, bool sync, Written written);

// The other end of a page server's connection. All of this stays the caller's.
struct PageServer {
  pageserver::Stream* stream = nullptr;
  bool inherited = false;  // not our connection (--ps-socket): the server is told so when we are done
  int stop = -1;           // readable when waiting is of no use any more; -1: never
};

// Sends everything by CRIU's protocol (formats/page-server-protocol.md, section 3). Nothing of it is left in `dir`.
std::unique_ptr<PageStore> server_store(const PageServer& server, const image::ImageDir& dir, Written written);

}  // namespace faultline::dump
