// Restore side of files: everything is checked, then opened once, then handed out by number.
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

#include "core/base/log.h"
#include "core/objects/file_kind.h"

namespace faultline::objects {

struct FileRebuilder::State {
  Rebuild rebuild;
};

FileRebuilder::FileRebuilder(std::unique_ptr<State> state) : state_(std::move(state)) {}
FileRebuilder::FileRebuilder(FileRebuilder&&) noexcept = default;
FileRebuilder::~FileRebuilder() {
  if (state_) remove_ghost_names(state_->rebuild);
}

namespace {

// REG entries that must not be opened for themselves: opening a FIFO or a pty has side effects.
std::set<uint32_t> paths_only(const image::Checkpoint& checkpoint) {
  std::set<uint32_t> ids;
  for (const auto& [id, entry] : checkpoint.files) {
    if (entry.fifo && entry.fifo->regf_id) ids.insert(*entry.fifo->regf_id);
    if (entry.tty && entry.tty->regf_id) ids.insert(*entry.tty->regf_id);
  }
  for (const image::RemapFilePathEntry& remap : checkpoint.remaps)
    if (remap.remap_type == image::RemapType::LINKED) ids.insert(remap.remap_id);
  return ids;
}

}  // namespace

Result<FileRebuilder> FileRebuilder::plan(const image::Checkpoint& checkpoint, const image::ImageDir& dir, const FilePolicy& policy) {
  auto state = std::unique_ptr<State>(
      new State{.rebuild = {.checkpoint = checkpoint, .dir = dir, .policy = policy, .paths_only = paths_only(checkpoint)}});
  const Rebuild& rebuild = state->rebuild;
  for (const auto& [id, entry] : checkpoint.files) {
    if (rebuild.paths_only.contains(id)) continue;
    const FileKind* kind = kind_of(entry.type);
    if (!kind) return error(ENOTSUP, "file {} of the checkpoint is of kind {}, which cannot be restored yet", id, static_cast<int>(entry.type));
    auto checked = kind->check(entry, rebuild);
    if (!checked) return wrap(checked.error(), "file {} of the checkpoint", id);
  }
  return FileRebuilder(std::move(state));
}

Result<void> FileRebuilder::open_all(int first_fd) {
  Rebuild& rebuild = state_->rebuild;
  rebuild.first_fd = first_fd;
  for (const auto& [id, entry] : rebuild.checkpoint.files) {
    if (rebuild.paths_only.contains(id)) continue;
    auto fd = kind_of(entry.type)->recreate(entry, rebuild);
    if (!fd) return wrap(fd.error(), "file {} of the checkpoint", id);
    rebuild.open[id] = TRY(rebuild.out_of_the_way(std::move(*fd), fmt::format("file {} of the checkpoint", id)));
  }
  for (const auto& finish : rebuild.at_the_end) TRY(finish());
  rebuild.at_the_end.clear();
  remove_ghost_names(rebuild);
  // Ends that nobody in the tree had: a pipe without readers must have none again.
  rebuild.pipes.clear();
  rebuild.fifos.clear();
  rebuild.sockets.clear();
  rebuild.masters.clear();
  rebuild.slaves.clear();
  return {};
}

int FileRebuilder::fd_of(uint32_t file_id) const {
  const auto at = state_->rebuild.open.find(file_id);
  return at == state_->rebuild.open.end() ? -1 : at->second.get();
}

std::vector<std::pair<uint32_t, int>> FileRebuilder::shared_objects() const {
  std::vector<std::pair<uint32_t, int>> objects;
  for (const image::MemfdInodeEntry& inode : state_->rebuild.checkpoint.memfds) {
    const auto at = state_->rebuild.memfds.find(static_cast<uint32_t>(inode.inode_id));
    if (at != state_->rebuild.memfds.end()) objects.emplace_back(inode.shmid, at->second.get());
  }
  return objects;
}

Result<void> FileRebuilder::seal() { return seal_memory(state_->rebuild); }

void FileRebuilder::rebuild_descriptors(const image::Task& task, agent::Program& program) const {
  unsigned from = 0;
  const auto close_up_to = [&](unsigned end) {
    if (end > from) program.syscall("close what the process did not have", SYS_close_range, {from, end - 1, 0});
  };
  for (const image::FdinfoEntry& fd : task.fds) {
    program.syscall(fmt::format("descriptor {} is file {}", fd.fd, fd.id), SYS_dup3, {fd_of(fd.id), fd.fd, (fd.flags & FD_CLOEXEC) ? O_CLOEXEC : 0});
    close_up_to(fd.fd);
    from = fd.fd + 1;
  }
  close_up_to(static_cast<unsigned>(state_->rebuild.first_fd));
}

namespace {

// F_SETOWN_EX, F_SETSIG and FASYNC of a file: made by one process that has it, because the kernel remembers who asked.
void rebuild_owner(const image::FileEntry& entry, const image::FownEntry& owner, uint32_t number, agent::Program& program) {
  if (owner.pid) {
    const f_owner_ex ex = {.type = static_cast<__pid_type>(owner.pid_type), .pid = static_cast<pid_t>(owner.pid)};
    // The owner may have ended long ago: then nobody is told, as before.
    program.try_syscall(fmt::format("descriptor {}: signal owner", number), SYS_fcntl, {number, F_SETOWN_EX, program.value(ex)});
    program.syscall(fmt::format("descriptor {}: signal", number), SYS_fcntl, {number, F_SETSIG, owner.signum});
  }
  const uint32_t flags = flags_of(entry);
  if (flags & O_ASYNC)
    program.syscall(fmt::format("descriptor {}: O_ASYNC", number), SYS_fcntl,
                    {number, F_SETFL, flags & static_cast<uint32_t>(O_APPEND | O_NONBLOCK | O_DIRECT | O_NOATIME | O_ASYNC)});
}

}  // namespace

void FileRebuilder::rebuild_relations(const image::Task& task, agent::Program& program) const {
  const Rebuild& rebuild = state_->rebuild;
  std::set<uint32_t> seen;
  for (const image::FdinfoEntry& fd : task.fds) {
    if (!seen.insert(fd.id).second) continue;
    const image::FileEntry& entry = *rebuild.checkpoint.file(fd.id);
    kind_of(entry.type)->relations(entry, fd.fd, task, rebuild, program);
    const image::FownEntry* owner = owner_of(entry);
    if (owner && (owner->pid || (flags_of(entry) & O_ASYNC)) && rebuild.first_holder(fd.id) == &task) rebuild_owner(entry, *owner, fd.fd, program);
  }
}

std::string FileRebuilder::describe() const {
  std::string out;
  for (const auto& [id, e] : state_->rebuild.checkpoint.files) {
    out += fmt::format("file {}: kind {}", id, static_cast<int>(e.type));
    if (e.reg) out += fmt::format(" {} flags {:#o} position {}", e.reg->name, e.reg->flags, static_cast<int64_t>(e.reg->pos));
    if (const auto inode = inode_of(e)) out += fmt::format(" inode {}", *inode);
    int fd = fd_of(id);
    if (fd >= 0) out += fmt::format(" (our descriptor {})", fd);
    out += '\n';
  }
  return out;
}

void FileRebuilder::close_all() {
  state_->rebuild.open.clear();
  state_->rebuild.memfds.clear();
}

}  // namespace faultline::objects
