#include "lazy/fault_server.h"

#include <unistd.h>

#include <algorithm>
#include <mutex>
#include <shared_mutex>

#include "core/base/log.h"
#include "core/base/scope_exit.h"

namespace faultline::lazy {

namespace {

constexpr uint64_t kReadAround = 64 << 10;  // what is read from a disk for one fault

alignas(kPageSize) constinit const std::array<std::byte, kPageSize> kZeros = {};

// Copies, and asks a second time after ENOENT: the kernel looks for the mapping before it looks whether an event waits. An event that
// took the mapping away in between makes the second call say EAGAIN, because it cannot have been read: the caller holds the lock.
// ENOENT from here means that the place is gone for good.
template <typename Copy>
uffd::Progress certain(Copy copy) {
  const uffd::Progress first = copy();
  return first.bytes == 0 && first.error == ENOENT ? copy() : first;
}

// False if an event must be read first; `done` gets how many pages are done with.
bool poison_pages(uffd::UserfaultRef fd, Vaddr at, uint64_t pages, uint64_t& done) {
  for (uint64_t step = pages; done < pages;) {
    step = std::min(step, pages - done);
    const uffd::Progress p = fd.poison(at + done * kPageSize, step * kPageSize);
    if (p.bytes != 0) done += p.bytes / kPageSize;
    else if (p.error == EAGAIN) return false;
    else if (p.error == ENOENT && step > 1) step = 1;  // it reaches over the border of two areas
    else ++done;                                       // it is in place, or is not mapped any more
  }
  return true;
}

}  // namespace

FaultServer::Outcome FaultServer::serve(Space& space, Vaddr address, Scratch& scratch, Wanted& wanted) {
  const Vaddr page = page_down(address);
  const auto outcome = [&]() -> Result<Outcome> {
    std::shared_lock lock(space.lock());
    return serve_locked(space, page, scratch, wanted);
  }();
  if (outcome) return *outcome;
  fail(space, page, outcome.error().what);
  return Outcome::kDone;
}

FaultServer::Outcome FaultServer::serve_named(Space& space, PageName name, Scratch& scratch, Wanted& wanted) {
  Vaddr page = 0;
  const auto outcome = [&]() -> Result<Outcome> {
    std::shared_lock lock(space.lock());
    if (!space.open()) return Outcome::kGone;
    const auto now = space.current_address(name.index, name.origin);
    if (!now) return Outcome::kDone;
    page = *now;
    const Segment* const segment = space.find(page);
    if (!space.missing(*segment, page)) return Outcome::kDone;
    return copy_run(space, *segment, page, scratch, wanted, counters_.pages_recorded);
  }();
  if (outcome) return *outcome;
  LOG_WARNING("pager: process {}: the page at {:#x} was not fetched ahead: {}", space.pid(), page, outcome.error().what);
  return Outcome::kDone;
}

Result<FaultServer::Outcome> FaultServer::serve_locked(Space& space, Vaddr page, Scratch& scratch, Wanted& wanted) {
  if (!space.open()) return Outcome::kGone;
  const Segment* const segment = space.find(page);
  if (segment == nullptr || !space.missing(*segment, page)) return zero(space, page);
  recorder_.add({segment->index, segment->origin_of(page)});
  return copy_run(space, *segment, page, scratch, wanted, counters_.pages_demand);
}

Result<const std::byte*> FaultServer::source(const Extent& extent, uint64_t& pages, Scratch& scratch, Wanted& wanted) const {
  const PagesFile& file = memory_.files[extent.file];
  if (file.window_ready(extent.offset)) {
    pages = std::min(pages, (file.window_end(extent.offset) - extent.offset) / kPageSize);
    return file.data(extent.offset);
  }
  const uint64_t bytes = TRY(file.read_resident(extent.offset, std::span(scratch.pages).first(pages * kPageSize)));
  if (bytes == 0) {
    const uint64_t offset = extent.offset / kReadAround * kReadAround;
    wanted = {.file = extent.file, .offset = offset, .length = std::min(kReadAround, file.size() - offset), .first = {}};
    return nullptr;
  }
  pages = bytes / kPageSize;
  return scratch.pages.data();
}

Result<FaultServer::Outcome> FaultServer::copy_run(Space& space, const Segment& segment, Vaddr page, Scratch& scratch, Wanted& wanted, Counter& kind) {
  const auto extent = memory_.indexes[segment.index].pages.find(segment.origin_of(page));
  FL_CHECK(extent);  // a bit is set only for what the index has
  // A program that walks upwards gets more with each step; one that jumps gets what it asked for and nothing that it has to wait for.
  const uint64_t run = page == scratch.next_expected ? std::min<uint64_t>(scratch.run * 2, Scratch::kPages) : 1;
  uint64_t pages = std::min(extent->pages, space.missing_run(segment, page, run));
  if (pages == 0) {  // of shared memory: it has just arrived for another process
    space.fd().wake(page, kPageSize);
    return Outcome::kDone;
  }
  if (extent->remote()) {
    wanted = {.file = extent->file, .offset = 0, .length = pages * kPageSize, .first = {segment.index, segment.origin_of(page)}};
    scratch.next_expected = page + wanted.length;
    scratch.run = run;
    return Outcome::kWaiting;
  }
  const std::byte* from = TRY(source(*extent, pages, scratch, wanted));
  if (from == nullptr) return Outcome::kWaiting;
  for (;;) {
    const auto p = certain([&] { return space.fd().copy(page, from, pages * kPageSize); });
    if (p.bytes != 0) {
      space.mark_present(segment, page, p.bytes / kPageSize);
      copied(p.bytes / kPageSize, kind);
      scratch.next_expected = page + p.bytes;
      scratch.run = run;
      return Outcome::kDone;
    }
    switch (p.error) {
      case EAGAIN: return Outcome::kRetry;
      case ESRCH: return Outcome::kGone;
      case EEXIST:
        space.mark_present(segment, page, 1);
        space.fd().wake(page, kPageSize);
        return Outcome::kDone;
      case ENOENT:
        if (pages > 1) {
          pages = 1;  // the run may reach into another mapping
          continue;
        }
        if (!segment.shared) space.mark_present(segment, page, 1);
        space.fd().wake(page, kPageSize);
        return Outcome::kDone;
      case ENOMEM: return Outcome::kRetry;
      case EFAULT:
        if (from != scratch.pages.data()) {
          // The file was cut, or the disk fails: reading tells which.
          pages = 1;
          TRY(memory_.files[extent->file].read(extent->offset, std::span(scratch.pages).first(kPageSize)));
          from = scratch.pages.data();
          continue;
        }
        [[fallthrough]];
      default: return error(p.error, "the kernel does not take the page: {}", errno_text(p.error));
    }
  }
}

FaultServer::Outcome FaultServer::zero(Space& space, Vaddr page) {
  auto p = certain([&] { return space.fd().zeropage(page, kPageSize); });
  if (p.error == EINVAL) p = certain([&] { return space.fd().copy(page, kZeros.data(), kPageSize); });  // where zero pages do not exist
  switch (p.error) {
    case 0: return Outcome::kDone;
    case EAGAIN:
    case ENOMEM: return Outcome::kRetry;
    case ESRCH: return Outcome::kGone;
    default:
      // EEXIST: it is there already. ENOENT: the mapping is gone. Whoever waits finds out by trying again.
      space.fd().wake(page, kPageSize);
      return Outcome::kDone;
  }
}

size_t FaultServer::drain(Space& space, std::vector<Vaddr>& faults) {
  const auto on_fork = [this](Space& parent, int child) -> Result<void> {
    const auto added = table_.add_child(parent, child);
    if (added) return {};
    // A child without a pager would read zeros. Its missing pages are made deadly instead, and the descriptor stays open.
    LOG_ERROR("pager: process {}: a forked child cannot be served and will be killed when it touches what is missing: {}", parent.pid(),
              added.error().what);
    for (auto gap = parent.next_gap(0, UINT64_MAX); gap; gap = parent.next_gap(gap->at + gap->pages * kPageSize, UINT64_MAX))
      if (uint64_t done = 0; !poison_pages(uffd::UserfaultRef(child), gap->at, gap->pages, done))
        LOG_ERROR("pager: process {}: a forked child cannot be served, and waits for ever", parent.pid());
    return {};
  };
  std::unique_lock lock(space.lock());
  if (!space.open()) return 0;
  const auto count = space.drain(table_.arena(), on_fork, faults);
  if (count) return *count;
  LOG_ERROR("pager: process {}: {}", space.pid(), count.error().what);
  return 0;
}

FaultServer::Fill FaultServer::fill(Space& space, FillCursor& cursor, Chunk chunk, Wanted& wanted) {
  std::optional<Extent> extent;
  // Unmapping a window takes long: after the lock, for which a fault may wait, is released.
  std::optional<std::pair<uint32_t, uint64_t>> left;
  const auto forget = [&] {
    if (left) memory_.files[left->first].forget_window(left->second);
  };
  const ScopeExit at_end(forget);
  {
    std::shared_lock lock(space.lock());
    if (!space.open()) return Fill::kGone;
    for (uint64_t done = 0; done < chunk.pages; done += chunk.step) {
      if (done != 0 && space.lock().writer_waits()) return Fill::kProgress;
      const auto gap = space.next_gap(cursor.at, chunk.step);
      if (!gap) return done == 0 ? Fill::kEnd : Fill::kProgress;
      cursor.at = gap->at;
      extent = memory_.indexes[gap->segment.index].pages.find(gap->segment.origin_of(gap->at));
      FL_CHECK(extent);
      if (extent->remote()) {
        const uint64_t pages = std::min(extent->pages, space.missing_run(gap->segment, gap->at, chunk.remote));
        wanted = {.file = extent->file, .offset = 0, .length = pages * kPageSize, .first = {gap->segment.index, gap->segment.origin_of(gap->at)}};
        cursor.at = gap->at + wanted.length;
        return pages == 0 ? Fill::kProgress : Fill::kRemote;
      }
      const PagesFile& file = memory_.files[extent->file];
      if (!file.window_ready(extent->offset)) break;
      const auto window = std::pair(extent->file, file.window_start(extent->offset));
      if (cursor.window && *cursor.window != window) left = cursor.window;
      cursor.window = window;
      const uint64_t ready = (file.window_end(extent->offset) - extent->offset) / kPageSize;
      const Fill filled = copy_ready(space, *gap, *extent, std::min({gap->pages, extent->pages, ready}), cursor);
      if (filled != Fill::kProgress) return filled;
      extent.reset();
    }
  }
  return extent ? make_ready(*extent, cursor, wanted) : Fill::kProgress;
}

FaultServer::Fill FaultServer::copy_ready(Space& space, const Gap& gap, const Extent& extent, uint64_t pages, FillCursor& cursor) {
  const PagesFile& file = memory_.files[extent.file];
  auto p = certain([&] { return space.fd().copy(gap.at, file.data(extent.offset), pages * kPageSize); });
  if (p.bytes == 0 && p.error == ENOENT && pages > 1)
    p = certain([&] { return space.fd().copy(gap.at, file.data(extent.offset), kPageSize); });
  if (p.bytes != 0) {
    space.mark_present(gap.segment, gap.at, p.bytes / kPageSize);
    copied(p.bytes / kPageSize, counters_.pages_bulk);
    cursor.at = gap.at + p.bytes;
    return Fill::kProgress;
  }
  switch (p.error) {
    case ESRCH: return Fill::kGone;
    case EEXIST: space.mark_present(gap.segment, gap.at, 1); break;
    case ENOENT:
      if (!gap.segment.shared) space.mark_present(gap.segment, gap.at, 1);
      break;
    case EFAULT:
      // The file was cut, or the disk fails: made ready again, which tells.
      file.forget_window(extent.offset);
      cursor.unreadable = file.window_start(extent.offset);
      return Fill::kProgress;
    case EAGAIN:
    case ENOMEM: return Fill::kRetry;
    default: LOG_WARNING("pager: process {}: the kernel does not take the page {:#x}: {}", space.pid(), gap.at, errno_text(p.error));
  }
  cursor.at = gap.at + kPageSize;
  return Fill::kProgress;
}

FaultServer::Fill FaultServer::make_ready(const Extent& extent, FillCursor& cursor, Wanted& wanted) {
  const PagesFile& file = memory_.files[extent.file];
  const uint64_t start = file.window_start(extent.offset);
  // Asked for once: a file system that keeps nothing in the page cache must not be asked for ever.
  if (cursor.asked != start && !file.resident(start, file.window_end(start) - start)) {
    cursor.asked = start;
    wanted = {.file = extent.file, .offset = start, .length = file.window_end(start) - start, .first = {}};
    return Fill::kWaiting;
  }
  if (const auto ready = file.prepare_window(start); !ready) {
    // The whole window stays missing: its readable pages come when they are touched, and the process is killed if it touches the others.
    if (cursor.unreadable != start) LOG_WARNING("pager: a part is left out of the background fill: {}", ready.error().what);
    cursor.unreadable = start;
    const uint64_t rest = (file.window_end(start) - extent.offset) / kPageSize;
    cursor.at += std::min(rest, extent.pages) * kPageSize;
  }
  return Fill::kProgress;
}

FaultServer::Outcome FaultServer::put(PageName first, uint64_t pages, const std::byte* contents, uint64_t step, bool urgent) {
  const uint64_t version = table_.version();
  Outcome outcome = Outcome::kDone;
  for (Space* space : table_.spaces())
    if (put_into(*space, first, pages, contents, step, urgent ? counters_.pages_demand : counters_.pages_bulk) == Outcome::kRetry) outcome = Outcome::kRetry;
  // A child was forked meanwhile, which may miss them too.
  return outcome == Outcome::kDone && version != table_.version() ? put(first, pages, contents, step, urgent) : outcome;
}

FaultServer::Outcome FaultServer::put_into(Space& space, PageName first, uint64_t pages, const std::byte* contents, uint64_t step, Counter& kind) {
  for (uint64_t done = 0; done < pages;) {
    const PageName page = {first.index, first.origin + done * kPageSize};
    uint64_t run = std::min(step, pages - done);
    Vaddr at = 0;
    const auto outcome = [&]() -> Result<Outcome> {
      // Anew for each step: whoever has a fault to serve waits for this lock.
      std::shared_lock lock(space.lock());
      if (!space.open()) return Outcome::kGone;
      at = space.current_address(page.index, page.origin).value_or(0);
      return put_page(space, page, run, contents ? contents + done * kPageSize : nullptr, kind);
    }();
    if (!outcome) fail(space, at, outcome.error().what);
    else if (*outcome != Outcome::kDone) return *outcome;
    done += run;
  }
  return Outcome::kDone;
}

// The page, and as many behind it as are missing there; `pages` gets how much is done with. Of shared memory, one place that exists is enough.
Result<FaultServer::Outcome> FaultServer::put_page(Space& space, PageName page, uint64_t& pages, const std::byte* contents, Counter& kind) {
  const uint64_t most = std::exchange(pages, 1);  // if it is not there, or in place
  for (auto at = space.current_address(page.index, page.origin); at; at = space.current_address(page.index, page.origin, *at + 1)) {
    const Segment* const segment = space.find(*at);
    uint64_t run = space.missing_run(*segment, *at, most);
    if (run == 0) break;
    const Outcome outcome = TRY(put_run(space, *segment, *at, run, contents, kind));
    if (outcome != Outcome::kDone) return outcome;
    pages = run;
    if (!space.missing(*segment, *at)) break;
  }
  return Outcome::kDone;
}

void FaultServer::poison(Space& space, Vaddr from, Vaddr to) {
  const auto poison_gaps = [&] {
    std::shared_lock lock(space.lock());
    for (auto gap = space.open() ? space.next_gap(from, UINT64_MAX) : std::nullopt; gap && gap->at < to; gap = space.next_gap(from, UINT64_MAX)) {
      uint64_t done = 0;
      const bool all = poison_pages(space.fd(), gap->at, std::min(gap->pages, page_up(to - gap->at) / kPageSize), done);
      from = gap->at + std::max<uint64_t>(done, all) * kPageSize;
      if (!all) return false;
    }
    return true;
  };
  // After an event was read, its process must have gone on.
  for (int tries = 0; !poison_gaps(); ++tries) {
    if (tries == 1000) {
      LOG_ERROR("pager: process {}: pages that cannot be delivered cannot be made deadly: an event of it does not end", space.pid());
      return;
    }
    std::vector<Vaddr> faults;
    // They come again, and find what is deadly by then.
    if (drain(space, faults) == 0) ::usleep(1000);
    std::shared_lock lock(space.lock());
    for (const Vaddr fault : faults)
      if (space.open()) space.fd().wake(page_down(fault), kPageSize);
  }
}

Result<FaultServer::Outcome> FaultServer::put_run(Space& space, const Segment& segment, Vaddr at, uint64_t& pages, const std::byte* contents, Counter& kind) {
  const auto copy = [&](uint64_t count) {
    if (contents) return space.fd().copy(at, contents, count * kPageSize);
    const auto zeros = space.fd().zeropage(at, count * kPageSize);
    return zeros.error == EINVAL ? space.fd().copy(at, kZeros.data(), kPageSize) : zeros;  // where zero pages do not exist
  };
  auto p = certain([&] { return copy(pages); });
  if (p.bytes == 0 && p.error == ENOENT && pages > 1) p = certain([&] { return copy(1); });  // the run may reach into another mapping
  pages = 1;
  switch (p.bytes != 0 ? 0 : p.error) {
    case 0:
      pages = p.bytes / kPageSize;
      copied(pages, kind);
      if (!contents) count(counters_.pages_zero, pages);
      space.mark_present(segment, at, pages);
      return Outcome::kDone;
    case EAGAIN:
    case ENOMEM: return Outcome::kRetry;
    case ESRCH: return Outcome::kGone;
    case EEXIST: space.mark_present(segment, at, 1); break;
    case ENOENT:
      if (!segment.shared) space.mark_present(segment, at, 1);
      break;
    default:
      // Whoever waits for it would ask for it again and again.
      if (&kind == &counters_.pages_demand) return error(p.error, "the kernel does not take the page: {}", errno_text(p.error));
      LOG_WARNING("pager: process {}: the kernel does not take the page {:#x}: {}", space.pid(), at, errno_text(p.error));
  }
  space.fd().wake(at, kPageSize);  // whoever waits finds out by trying again
  return Outcome::kDone;
}

bool FaultServer::prepare_ahead(uint32_t number, uint64_t offset) {
  const PagesFile& file = memory_.files[number];
  if (file.window_ready(offset)) return true;
  return file.resident(offset, file.window_end(offset) - offset) && file.prepare_window(offset).has_value();
}

void FaultServer::copied(uint64_t pages, Counter& kind) {
  copied_.fetch_add(pages, std::memory_order_relaxed);
  count(kind, pages);
}

void FaultServer::fail(Space& space, Vaddr address, const std::string& reason) {
  count(counters_.pages_missing);
  LOG_ERROR("pager: process {} is killed: its page at {:#x} cannot be delivered: {}", space.pid(), address, reason);
  kill_(space, address, reason);
}

}  // namespace faultline::lazy
