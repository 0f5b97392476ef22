// What things are called that processes hold: the texts of the links in /proc/PID/fd, and of the last column of /proc/PID/maps.
#include <sched.h>

#include "browse/snapshot.h"

namespace faultline::browse {

namespace {

// By the flag of clone(2) that makes one. The number is the checkpoint's own: images do not hold the kernel's.
std::string namespace_name(const image::NsFileEntry& file) {
  constexpr std::pair<uint32_t, const char*> kNames[] = {{CLONE_NEWNS, "mnt"}, {CLONE_NEWCGROUP, "cgroup"}, {CLONE_NEWUTS, "uts"}, {CLONE_NEWIPC, "ipc"},
                                                         {CLONE_NEWUSER, "user"}, {CLONE_NEWPID, "pid"}, {CLONE_NEWNET, "net"}, {CLONE_NEWTIME, "time"}};
  for (const auto& [flag, name] : kNames)
    if (flag == file.ns_cflag) return fmt::format("{}:[{}]", name, file.ns_id);
  return fmt::format("ns:[{}]", file.ns_id);
}

std::string memfd_name(const std::string& name) {
  // Shared memory without a name has names of the kernel's own.
  return (name.starts_with("/dev/zero") || name.starts_with("/anon_hugepage") ? "" : "/memfd:") + name + " (deleted)";
}

// Of what has no path.
std::string name_without_path(const image::FileEntry& file) {
  if (file.pipe) return fmt::format("pipe:[{}]", file.pipe->pipe_id);
  if (file.usk) return fmt::format("socket:[{}]", file.usk->ino);
  if (file.isk) return fmt::format("socket:[{}]", file.isk->ino);
  if (file.nlsk) return fmt::format("socket:[{}]", file.nlsk->ino);
  if (file.psk) return fmt::format("socket:[{}]", file.id);  // its inode is not recorded
  if (file.nsf) return namespace_name(*file.nsf);
  if (file.tunf) return "/dev/net/tun";
  if (file.efd) return "anon_inode:[eventfd]";
  if (file.epfd) return "anon_inode:[eventpoll]";
  if (file.sgfd) return "anon_inode:[signalfd]";
  if (file.tfd) return "anon_inode:[timerfd]";
  if (file.ify) return "anon_inode:inotify";
  if (file.ffy) return "anon_inode:[fanotify]";
  if (file.bpf) return "anon_inode:bpf-map";
  if (file.pidfd) return "anon_inode:[pidfd]";
  return fmt::format("unknown:[{}]", file.id);
}

// A terminal that has no path of its own: CRIU's number tells master and slave (formats/image-files.md, section 11.4).
std::string tty_name(uint32_t id) { return id % 2 ? "/dev/ptmx" : id / 2 <= 1000 ? fmt::format("/dev/pts/{}", id / 2) : fmt::format("tty:[{}]", id); }

}  // namespace

std::string Snapshot::path_of(uint32_t file_id) {
  const auto files = this->files();
  if (!files) return "";
  const auto at = (*files)->find(file_id);
  if (at == (*files)->end()) return "";
  const image::FileEntry& file = at->second;
  const auto remaps = this->remaps();
  const auto deleted = [&](uint32_t id) { return remaps && (*remaps)->contains(id) ? " (deleted)" : ""; };
  if (file.reg) return file.reg->name + deleted(file_id);
  if (file.memfd) {
    const auto memfds = this->memfds();
    if (memfds)
      for (const image::MemfdInodeEntry& memfd : **memfds)
        if (memfd.inode_id == file.memfd->inode_id) return memfd_name(memfd.name);
    return "/memfd: (deleted)";
  }
  const auto by_path = file.fifo ? file.fifo->regf_id : file.tty ? file.tty->regf_id : std::nullopt;
  if (by_path)
    if (const auto path = (*files)->find(*by_path); path != (*files)->end() && path->second.reg) return path->second.reg->name + deleted(*by_path);
  if (file.fifo) return fmt::format("pipe:[{}]", file.fifo->pipe_id);
  if (file.tty) return tty_name(file.tty->tty_info_id);
  return name_without_path(file);
}

std::string Snapshot::path_of_area(const image::MmEntry& mm, const image::VmaEntry& vma) {
  if (vma.status & (image::kVmaFilePrivate | image::kVmaFileShared | image::kVmaMemfd)) return path_of(static_cast<uint32_t>(vma.shmid));
  if (vma.status & image::kVmaAnonShared) return "/dev/zero (deleted)";
  if (vma.status & image::kVmaVdso) return "[vdso]";
  if (vma.status & image::kVmaVvar) return "[vvar]";
  if (vma.status & image::kVmaVsyscall) return "[vsyscall]";
  // As the kernel tells them (fs/proc/task_mmu.c).
  if (vma.start < mm.mm_brk && vma.end > mm.mm_start_brk && mm.mm_start_brk != 0) return "[heap]";
  if (vma.start <= mm.mm_start_stack && vma.end >= mm.mm_start_stack && mm.mm_start_stack != 0) return "[stack]";
  return "";
}

}  // namespace faultline::browse
