#include "core/restore/shared_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

#include "core/restore/address_space.h"
#include "lazy/remote_fetch.h"

namespace faultline::restore {

namespace {

// The number of the memfd inode behind a file, or 0.
uint32_t inode_of(const image::Checkpoint& checkpoint, uint64_t file_id) {
  const image::FileEntry* file = file_id <= UINT32_MAX ? checkpoint.file(static_cast<uint32_t>(file_id)) : nullptr;
  return file && file->memfd ? file->memfd->inode_id : 0;
}

bool can_be_watched(const image::Checkpoint& checkpoint, const image::VmaEntry& vma) {
  const image::FileEntry* file = checkpoint.file(static_cast<uint32_t>(vma.shmid));
  // UFFDIO_REGISTER takes only areas that may become writable (mm/userfaultfd.c).
  return (vma.flags & MAP_SHARED) && !(vma.flags & MAP_LOCKED) && (file->memfd->flags & O_ACCMODE) == O_RDWR;
}

}  // namespace

SharedMemory::SharedMemory(const image::ImageDir& dir, const image::Checkpoint& checkpoint, bool lazy) : dir_(dir), checkpoint_(checkpoint) {
  if (!lazy) return;
  std::map<uint32_t, uint32_t> shmids;  // of inodes that can come late
  for (const image::MemfdInodeEntry& inode : checkpoint.memfds)
    if (inode.seals == 0 || inode.seals == F_SEAL_SEAL) shmids[inode.inode_id] = inode.shmid;
  for (const image::Task& task : checkpoint.tasks) {
    for (const image::FdinfoEntry& fd : task.fds) shmids.erase(inode_of(checkpoint, fd.id));
    if (!task.mm) continue;
    for (const image::VmaEntry& vma : task.mm->vmas)
      if (const uint32_t inode = inode_of(checkpoint, vma.shmid); inode && !can_be_watched(checkpoint, vma)) shmids.erase(inode);
  }
  for (const auto& [id, file] : checkpoint.files)
    if (file.memfd && shmids.contains(file.memfd->inode_id)) late_[id] = shmids[file.memfd->inode_id];
  for (const image::Task& task : checkpoint.tasks) {
    if (!task.mm) continue;
    for (const Vaddr page : first_pages(task))
      for (const image::VmaEntry& vma : task.mm->vmas)
        if (const uint32_t* shmid = late(vma); shmid && vma.start <= page && page < vma.end) at_once_[*shmid].insert(vma.pgoff + (page - vma.start));
  }
}

const uint32_t* SharedMemory::late(const image::VmaEntry& vma) const {
  if (!(vma.status & image::kVmaMemfd)) return nullptr;
  const auto at = late_.find(static_cast<uint32_t>(vma.shmid));
  return at == late_.end() ? nullptr : &at->second;
}

std::set<uint32_t> SharedMemory::late_objects() const {
  std::set<uint32_t> shmids;
  for (const auto& [file, shmid] : late_) shmids.insert(shmid);
  return shmids;
}

Result<void> SharedMemory::fetch(const image::Pagemap& map, int to, uint64_t size, uint32_t shmid, const std::set<uint64_t>* only, const lazy::RemoteOptions& remote) const {
  const auto purpose = only ? lazy::RemoteFetch::For::kFirstInstruction : lazy::RemoteFetch::For::kWholeMemory;
  lazy::RemoteFetch fetch(remote, purpose, [&](const pageserver::Range& range, std::span<const std::byte> contents) -> Result<void> {
    // The object may end inside its last page. Pages of zeros are holes already.
    const uint64_t length = range.address < size ? std::min<uint64_t>(contents.size(), size - range.address) : 0;
    return pwrite_all(to, contents.data(), length, static_cast<off_t>(range.address), "shared memory");
  });
  const auto object = pageserver::object_id(shmid, pageserver::kSharedMemory);
  for (const image::PagemapEntry& entry : map.entries) {
    if (*entry.flags & image::kPagePresent) continue;
    const uint64_t end = entry.vaddr + *entry.nr_pages * kPageSize;
    if (!only) fetch.want(object, entry.vaddr, *entry.nr_pages);
    else
      for (auto page = only->lower_bound(entry.vaddr); page != only->end() && *page < end; ++page) fetch.want(object, *page, 1);
  }
  return fetch.finish();
}

Result<void> SharedMemory::fill(uint32_t shmid, int to, const lazy::RemoteOptions* remote) const {
  const auto found = checkpoint_.shared.find(shmid);
  if (found == checkpoint_.shared.end() || found->second.entries.empty()) return {};
  const bool all = !late_objects().contains(shmid);
  const auto at_once = at_once_.find(shmid);
  if (!all && at_once == at_once_.end()) return {};
  struct stat st;
  if (::fstat(to, &st) < 0) return sys_error("shared memory {}", shmid);
  const auto size = static_cast<uint64_t>(st.st_size);
  const auto& entries = found->second.entries;
  if (std::ranges::any_of(entries, image::is_remote)) {
    if (!remote) return error(ENOTSUP, "shared memory {}: pages are not in the images but with the host of the dump; add --page-server --address HOST --port PORT", shmid);
    TRY(fetch(found->second, to, size, shmid, all ? nullptr : &at_once->second, *remote));
  }
  if (std::ranges::all_of(entries, image::is_remote)) return {};
  const UniqueFd pages = TRY(dir_.open_file(fmt::format("pages-{}.img", found->second.pages_id), O_RDONLY));
  off_t from = 0;
  for (const image::PagemapEntry& entry : found->second.entries) {
    if (image::is_remote(entry)) continue;
    if (!(*entry.flags & image::kPagePresent)) return error(ENOTSUP, "shared memory {}: pages are in a parent checkpoint, which cannot be restored yet", shmid);
    const uint64_t length = *entry.nr_pages * kPageSize;
    // The last page is stored whole; the object may end inside it.
    if (all) TRY(copy(pages.get(), from, to, entry.vaddr, std::min(entry.vaddr + length, size), shmid));
    else
      for (auto page = at_once->second.lower_bound(entry.vaddr); page != at_once->second.end() && *page < entry.vaddr + length; ++page)
        TRY(copy(pages.get(), from + static_cast<off_t>(*page - entry.vaddr), to, *page, std::min(*page + kPageSize, size), shmid));
    from += static_cast<off_t>(length);
  }
  return {};
}

Result<void> SharedMemory::copy(int pages, off_t from, int to, uint64_t at, uint64_t end, uint32_t shmid) const {
  bool by_kernel = true;
  std::vector<std::byte> buffer;
  while (at < end) {
    auto where = static_cast<off_t>(at);
    const ssize_t n = by_kernel ? ::copy_file_range(pages, &from, to, &where, end - at, 0) : 0;
    if (n > 0) {
      at += static_cast<uint64_t>(n);
      continue;
    }
    if (n < 0 && errno != EXDEV && errno != EINVAL && errno != EOPNOTSUPP) return sys_error("shared memory {}: the contents cannot be put back", shmid);
    // Not between these two file systems; and an end of the file too early is told by pread_all.
    by_kernel = false;
    buffer.resize(std::min<uint64_t>(end - at, 256 << 10));
    TRY(pread_all(pages, buffer.data(), buffer.size(), from, "the pages image of shared memory"));
    TRY(pwrite_all(to, buffer.data(), buffer.size(), static_cast<off_t>(at), "shared memory"));
    from += static_cast<off_t>(buffer.size()), at += buffer.size();
  }
  return {};
}

}  // namespace faultline::restore
