// What /proc/PID/fdinfo/N says of an open file (fs/proc/fd.c, and show_fdinfo of each kind). Lines that no image can tell are left out: eventfd-id, the
// inode where it is not recorded.
#include <fcntl.h>
#include <sys/eventfd.h>

#include "browse/text/forms.h"
#include "browse/text/parts.h"

namespace faultline::browse {

namespace {

struct Common {
  uint64_t pos = 0;
  uint32_t flags = 0;
  int32_t mount = 0;
  std::optional<uint64_t> inode;
};

void mount_of(Common& common, std::optional<int32_t> mount) {
  if (mount && *mount > 0) common.mount = *mount;
}

// Sockets, pipes and shared memory have inode numbers in their entries.
void inode_of(Snapshot& snapshot, const image::FileEntry& file, Common& common) {
  if (file.pipe) common.inode = file.pipe->pipe_id;
  if (file.fifo) common.inode = file.fifo->pipe_id;
  if (file.usk) common.inode = file.usk->ino;
  if (file.isk) common.inode = file.isk->ino;
  if (file.nlsk) common.inode = file.nlsk->ino;
  if (file.pidfd) common.inode = file.pidfd->ino;
  if (file.reg)
    if (const auto ghost = ghost_identity(snapshot, file.id)) common.inode = ghost->inode;
  if (!file.memfd) return;
  const auto memfds = if_readable(snapshot, snapshot.memfds());
  if (memfds)
    for (const image::MemfdInodeEntry& memfd : **memfds)
      if (memfd.inode_id == file.memfd->inode_id) common.inode = memfd.shmid;
}

Common path_part(const image::RegFileEntry& reg) {
  Common common{.pos = reg.pos == UINT64_MAX ? 0 : reg.pos, .flags = reg.flags};
  mount_of(common, reg.mnt_id);
  return common;
}

// Of a FIFO or terminal: flags and position stand with its path.
std::optional<Common> by_path(Snapshot& snapshot, std::optional<uint32_t> id) {
  const auto files = if_readable(snapshot, snapshot.files());
  if (!id || !files) return std::nullopt;
  const auto at = (*files)->find(*id);
  if (at == (*files)->end() || !at->second.reg) return std::nullopt;
  return path_part(*at->second.reg);
}

Common common_of(Snapshot& snapshot, const image::FileEntry& file) {
  Common common;
  if (file.reg) common = path_part(*file.reg);
  if (file.fifo) common = by_path(snapshot, file.fifo->regf_id).value_or(Common{});
  if (file.tty) {
    common = by_path(snapshot, file.tty->regf_id).value_or(Common{});
    common.flags = file.tty->flags;
  }
  if (file.memfd) common.pos = file.memfd->pos, common.flags = file.memfd->flags;
  if (file.bpf) common.pos = file.bpf->pos, common.flags = file.bpf->flags;
  if (file.isk) common.flags = file.isk->flags;
  if (file.usk) common.flags = file.usk->flags;
  if (file.psk) common.flags = file.psk->flags;
  if (file.nlsk) common.flags = file.nlsk->flags;
  if (file.nsf) common.flags = file.nsf->flags;
  if (file.pipe) common.flags = file.pipe->flags;
  if (file.epfd) common.flags = file.epfd->flags;
  if (file.sgfd) common.flags = file.sgfd->flags;
  if (file.tfd) common.flags = file.tfd->flags;
  if (file.ify) common.flags = file.ify->flags;
  if (file.ffy) common.flags = file.ffy->flags;
  if (file.pidfd) common.flags = file.pidfd->flags;
  // The lowest bit of an eventfd's flags stands for its being a semaphore (core/objects/event_fd.cc).
  if (file.efd) common.flags = file.efd->flags & ~uint32_t{EFD_SEMAPHORE};
  inode_of(snapshot, file, common);
  return common;
}

void add_handle(std::string& out, const image::FhEntry& handle) {
  add(out, "fhandle-bytes:{:x} fhandle-type:{:x} f_handle:", handle.bytes, handle.type);
  for (uint32_t i = 0; i < handle.bytes && i / 8 < handle.handle.size(); ++i) add(out, "{:02x}", handle.handle[i / 8] >> (i % 8 * 8) & 0xff);
}

void add_watches(std::string& out, const image::FileEntry& file) {
  if (file.epfd)
    for (const image::EventpollTfdEntry& watch : file.epfd->tfd)
      add(out, "tfd: {:8} events: {:8x} data: {:16x}  pos:{} ino:{:x} sdev:{:x}\n", watch.tfd, watch.events, watch.data, watch.pos.value_or(0), watch.inode.value_or(0), watch.dev.value_or(0));
  if (file.ify)
    for (const image::InotifyWdEntry& watch : file.ify->wd) {
      add(out, "inotify wd:{:x} ino:{:x} sdev:{:x} mask:{:x} ignored_mask:{:x} ", watch.wd, watch.i_ino, watch.s_dev, watch.mask, watch.ignored_mask);
      add_handle(out, watch.f_handle);
      out += '\n';
    }
  if (!file.ffy) return;
  add(out, "fanotify flags:{:x} event-flags:{:x}\n", file.ffy->faflags, file.ffy->evflags);
  for (const image::FanotifyMarkEntry& mark : file.ffy->mark) {
    if (mark.me) add(out, "fanotify mnt_id:{:x} mflags:{:x} mask:{:x} ignored_mask:{:x}\n", mark.me->mnt_id, mark.mflags, mark.mask, mark.ignored_mask);
    if (!mark.ie) continue;
    add(out, "fanotify ino:{:x} sdev:{:x} mflags:{:x} mask:{:x} ignored_mask:{:x} ", mark.ie->i_ino, mark.s_dev, mark.mflags, mark.mask, mark.ignored_mask);
    add_handle(out, mark.ie->f_handle);
    out += '\n';
  }
}

void add_socket(std::string& out, Snapshot& snapshot, const image::FileEntry& file) {
  const auto queues = if_readable(snapshot, socket_queues(snapshot));
  size_t rights = 0;
  if (queues && (*queues)->contains(file.id))
    for (const size_t carried : (*queues)->at(file.id).rights) rights += carried;
  add(out, "scm_fds: {}\n", rights);
}

void add_own(std::string& out, Snapshot& snapshot, const image::FileEntry& file) {
  if (file.efd) add(out, "eventfd-count: {:16x}\neventfd-semaphore: {}\n", file.efd->counter, file.efd->flags & EFD_SEMAPHORE ? 1 : 0);
  if (file.sgfd) add(out, "sigmask:\t{:016x}\n", file.sgfd->sigmask);
  if (file.tfd)
    add(out, "clockid: {}\nticks: {}\nsettime flags: 0{:o}\nit_value: ({}, {})\nit_interval: ({}, {})\n", static_cast<int32_t>(file.tfd->clockid), file.tfd->ticks,
        file.tfd->settime_flags, file.tfd->vsec, file.tfd->vnsec, file.tfd->isec, file.tfd->insec);
  if (file.pidfd) add(out, "Pid:\t{}\nNSpid:\t{}\n", file.pidfd->nspid, file.pidfd->nspid);
  // The master's number in the images is odd (formats/image-files.md, section 11.4).
  if (file.tty && file.tty->tty_info_id % 2) add(out, "tty-index:\t{}\n", file.tty->tty_info_id / 2);
  if (file.tunf) add(out, "iff:\t{}\n", file.tunf->netdev.value_or(""));
  if (file.usk) add_socket(out, snapshot, file);
  if (file.bpf)
    add(out, "map_type:\t{}\nkey_size:\t{}\nvalue_size:\t{}\nmax_entries:\t{}\nmap_flags:\t0x{:x}\nmemlock:\t{}\nmap_id:\t{}\nfrozen:\t{}\n", file.bpf->map_type, file.bpf->key_size,
        file.bpf->value_size, file.bpf->max_entries, file.bpf->map_flags, file.bpf->memlock, file.bpf->map_id, file.bpf->frozen ? 1 : 0);
}

}  // namespace

Result<std::string> fdinfo_text(Snapshot& snapshot, const image::FdinfoEntry& entry) {
  const auto files = TRY(snapshot.files());
  const auto at = files->find(entry.id);
  if (at == files->end()) return error(EBADMSG, "{}/files.img has no file {}, which descriptor {} leads to", snapshot.name(), entry.id, entry.fd);
  const Common common = common_of(snapshot, at->second);
  std::string out;
  add(out, "pos:\t{}\nflags:\t0{:o}\nmnt_id:\t{}\n", common.pos, common.flags | (entry.flags & FD_CLOEXEC ? O_CLOEXEC : 0), common.mount);
  if (common.inode) add(out, "ino:\t{}\n", *common.inode);
  add_own(out, snapshot, at->second);
  add_watches(out, at->second);
  return out;
}

}  // namespace faultline::browse
