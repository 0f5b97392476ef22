#pragma once

#include <array>
#include <atomic>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/base/counters.h"
#include "lazy/pages_file.h"
#include "lazy/space_table.h"
#include "lazy/working_set.h"

namespace faultline::lazy {

// What a thread needs to copy: its own.
struct Scratch {
  static constexpr size_t kPages = 16;
  alignas(kPageSize) std::array<std::byte, kPages * kPageSize> pages;
  Vaddr next_expected = 0;   // fault-around: the page after the last run served
  uint64_t run = 1;          // and how long the next run will be if it is asked for
};

// What is wanted and not at hand: a place in a file that is not in the page cache, or pages that are with a page server.
struct Wanted {
  uint32_t file;    // kRemoteFile: the pages from `first` on
  uint64_t offset;
  uint64_t length;  // bytes
  PageName first;

  bool remote() const { return file == image::kRemoteFile; }
  uint64_t pages() const { return length / kPageSize; }
};

// Where a fill stands in one address space.
struct FillCursor {
  Vaddr at = 0;
  // The window of a pages file that is copied from, forgotten when it is left; nullopt: none yet.
  std::optional<std::pair<uint32_t, uint64_t>> window;
  uint64_t asked = UINT64_MAX;   // window that was last asked to be read from disk
  uint64_t unreadable = UINT64_MAX;  // window with a page that cannot be read: taken page by page
};

inline constexpr uint64_t kRemoteRun = 64;  // pages that are asked of a page server at once

// Serves single faults and single steps of filling. No threads, no policy. Safe from any thread.
class FaultServer {
 public:
  // A process must not go on: kill it. Called with no lock held.
  using Kill = std::function<void(Space&, Vaddr, const std::string& reason)>;

  // `counters` must outlive the server, as must all the rest.
  FaultServer(const Memory& memory, SpaceTable& table, Recorder& recorder, PagerCounters& counters, Kill kill)
      : memory_(memory), table_(table), recorder_(recorder), counters_(counters), kill_(std::move(kill)) {}

  enum class Outcome {
    kDone,     // the page is in place, or nobody waits for it any more
    kRetry,    // an event must be read first (drain), or its process has not gone on yet
    kWaiting,  // `wanted` must be brought first
    kGone,     // the address space no longer exists
  };
  Outcome serve(Space& space, Vaddr address, Scratch& scratch, Wanted& wanted);

  // Reads waiting messages and applies events; the addresses of faults are appended.
  // Gives how many messages there were. A failure is logged and treated as none.
  size_t drain(Space& space, std::vector<Vaddr>& faults);

  // How much is copied under one hold of the lock, and how much of it by one call of the kernel: whoever has a fault to serve waits
  // for the end of a call.
  struct Chunk {
    uint64_t pages;
    uint64_t step;
    uint64_t remote = kRemoteRun;  // pages that are asked for at once
  };
  // Copies a chunk of missing pages from the cursor on, without waiting for a disk. Less if a fault waits for the lock.
  enum class Fill {
    kProgress,  // go on
    kRetry,     // an event must be read first
    kWaiting,   // `wanted` is not in the page cache
    kRemote,    // `wanted` is with the page server; the cursor is behind it
    kEnd,       // nothing is missing from the cursor on
    kGone,
  };
  Fill fill(Space& space, FillCursor& cursor, Chunk chunk, Wanted& wanted);

  // Pages that have come from a page server are put in wherever they are missing, in all address spaces; nullptr: pages of zeros.
  // `step` pages at most are copied by one call of the kernel. kRetry: not everywhere, an event of some address space must be read first.
  // `urgent`: somebody waits for them.
  Outcome put(PageName first, uint64_t pages, const std::byte* contents, uint64_t step, bool urgent);

  // Makes the next window of a pages file ready, so that faults can be served from it without a read. False if it is not in the page cache.
  bool prepare_ahead(uint32_t file, uint64_t offset);

  // The page of `index` that was at `origin`, wherever it is now. kDone also if it is not mapped or in place.
  Outcome serve_named(Space& space, PageName page, Scratch& scratch, Wanted& wanted);

  // Whoever waits for a missing page of [from, to), or touches one from now on, gets SIGBUS: for processes that are not to go on and whose pid is
  // not known. No lock is held.
  void poison(Space& space, Vaddr from, Vaddr to);

  // The page cannot be delivered: whoever waits for it must not go on.
  void fail(Space& space, Vaddr address, const std::string& reason);

  const Memory& memory() const { return memory_; }
  PagerCounters& counters() { return counters_; }
  // Pages copied so far.
  uint64_t copied() const { return copied_.load(std::memory_order_relaxed); }

 private:
  // With the space's lock held in shared mode. An error: the page cannot be read.
  Result<Outcome> serve_locked(Space& space, Vaddr page, Scratch& scratch, Wanted& wanted);
  // Where `pages` pages can be copied from; may make them fewer. nullptr: `wanted` must be read first.
  Result<const std::byte*> source(const Extent& extent, uint64_t& pages, Scratch& scratch, Wanted& wanted) const;
  Result<Outcome> copy_run(Space& space, const Segment& segment, Vaddr page, Scratch& scratch, Wanted& wanted, Counter& kind);
  Outcome zero(Space& space, Vaddr page);
  Result<Outcome> put_page(Space& space, PageName page, uint64_t& pages, const std::byte* contents, Counter& kind);
  Outcome put_into(Space& space, PageName first, uint64_t pages, const std::byte* contents, uint64_t step, Counter& kind);
  // Copies the run, or a part of it; `pages` gets how much is done with, at least one unless kRetry or kGone. Errors: the kernel refuses a page for
  // which somebody waits.
  Result<Outcome> put_run(Space& space, const Segment& segment, Vaddr at, uint64_t& pages, const std::byte* contents, Counter& kind);
  void copied(uint64_t pages, Counter& kind);
  Fill copy_ready(Space& space, const Gap& gap, const Extent& extent, uint64_t pages, FillCursor& cursor);
  Fill make_ready(const Extent& extent, FillCursor& cursor, Wanted& wanted);

  const Memory& memory_;
  SpaceTable& table_;
  Recorder& recorder_;
  PagerCounters& counters_;
  Kill kill_;
  std::atomic<uint64_t> copied_ = 0;
};

}  // namespace faultline::lazy
