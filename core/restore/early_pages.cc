#include "core/restore/early_pages.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>

#include "lazy/remote_fetch.h"

namespace faultline::restore {

namespace {

bool any_remote(const image::Pagemap& map) {
  return std::ranges::any_of(map.entries, image::is_remote);
}

}  // namespace

uint64_t early_pages(const image::Checkpoint& checkpoint, bool lazy) {
  uint64_t pages = 0;
  for (const image::Task& task : checkpoint.tasks)
    for (const image::PagemapEntry& entry : task.pagemap.entries)
      if ((*entry.flags & image::kPagePresent) && !(lazy && (*entry.flags & image::kPageLazy))) pages += *entry.nr_pages;
  return pages;
}

bool any_remote(const image::Checkpoint& checkpoint, bool shared_only) {
  return std::ranges::any_of(checkpoint.shared, [](const auto& object) { return any_remote(object.second); }) ||
         (!shared_only && std::ranges::any_of(checkpoint.tasks, [](const image::Task& task) { return !task.dead() && any_remote(task.pagemap); }));
}

Result<FetchedEarly> FetchedEarly::fetch(const lazy::RemoteOptions& remote, const image::Checkpoint& checkpoint, int lowest_fd) {
  FetchedEarly early;
  const UniqueFd low(::memfd_create("faultline-early-pages", MFD_CLOEXEC));
  early.file_.reset(low ? ::fcntl(low.get(), F_DUPFD_CLOEXEC, lowest_fd) : -1);
  if (!early.file_) return sys_error("cannot make a file for pages that are fetched");
  std::map<std::pair<pageserver::ObjectId, Vaddr>, uint64_t> places;
  lazy::RemoteFetch fetch(remote, lazy::RemoteFetch::For::kFirstInstruction, [&](const pageserver::Range& range, std::span<const std::byte> contents) -> Result<void> {
    // Pages of zeros have no contents: the file has holes for them.
    for (uint64_t done = 0; done < contents.size(); done += kPageSize)
      if (const auto place = places.find({range.object, range.address + done}); place != places.end())
        TRY(pwrite_all(early.file_.get(), contents.data() + done, kPageSize, static_cast<off_t>(place->second), "pages that are fetched"));
    return {};
  });
  for (const image::Task& task : checkpoint.tasks) {
    if (task.dead()) continue;
    EarlyPages& pages = early.pages_[task.pid()];
    pages.fd = early.file_.get();
    const auto object = pageserver::object_id(task.tree.pid, pageserver::kTaskMemory);
    for (const Vaddr page : remote_first_pages(task)) {
      pages.offsets[page] = places.size() * kPageSize;
      places.emplace(std::pair(object, page), pages.offsets[page]);
      fetch.want(object, page, 1);
    }
  }
  if (::ftruncate(early.file_.get(), static_cast<off_t>(places.size() * kPageSize)) < 0) return sys_error("cannot make room for pages that are fetched");
  TRY(fetch.finish());
  return early;
}

}  // namespace faultline::restore
