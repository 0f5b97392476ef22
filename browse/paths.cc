// What things are called that processes hold: the texts of the links in /proc/PID/fd, and of the last column of /proc/PID/maps.
#include "browse/snapshot.h"

namespace faultline::browse {

std::string Snapshot::path_of(uint32_t file_id) {
  const auto files = this->files();
  if (!files) return "";
  const auto at = (*files)->find(file_id);
  if (at == (*files)->end()) return "";
  const image::FileEntry& file = at->second;
  const auto remaps = this->remaps();
  if (file.reg) return file.reg->name + (remaps && (*remaps)->contains(file_id) ? " (deleted)" : "");
  if (file.memfd) {
    const auto memfds = this->memfds();
    if (memfds)
      for (const image::MemfdInodeEntry& memfd : **memfds)
        if (memfd.inode_id == file.memfd->inode_id) return (memfd.name == "/dev/zero" ? "" : "/memfd:") + memfd.name + " (deleted)";
    return "/memfd: (deleted)";
  }
  return "";
}

std::string Snapshot::path_of_area(const image::MmEntry& mm, const image::VmaEntry& vma) {
  if (vma.status & (image::kVmaFilePrivate | image::kVmaFileShared | image::kVmaMemfd)) return path_of(static_cast<uint32_t>(vma.shmid));
  if (vma.status & image::kVmaAnonShared) return "/dev/zero (deleted)";
  if (vma.status & image::kVmaVdso) return "[vdso]";
  if (vma.status & image::kVmaVvar) return "[vvar]";
  if (vma.status & image::kVmaVsyscall) return "[vsyscall]";
  // As the kernel tells them (fs/proc/task_mmu.c).
  if (vma.start <= mm.mm_brk && vma.end >= mm.mm_start_brk && mm.mm_start_brk != 0) return "[heap]";
  if (vma.start <= mm.mm_start_stack && vma.end >= mm.mm_start_stack && mm.mm_start_stack != 0) return "[stack]";
  return "";
}

}  // namespace faultline::browse
