// Named pipes: a path (a REG entry of its own) and what is in them.
// An end is opened through one that is opened for both directions first: opening a FIFO for one waits until the other is there.
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "core/base/log.h"
#include "core/objects/file_kind.h"

namespace faultline::objects {

namespace {

class Fifo final : public FileKind {
 public:
  image::FdTypes type() const override { return image::FdTypes::FIFO; }

  bool recognises(const FdView& fd) const override { return S_ISFIFO(fd.st.st_mode) && fd.link.starts_with("/") && !fd.only_path(); }

  Result<void> collect(const FdView& fd, Collected& collected, image::FileEntry& entry) const override {
    const auto id = static_cast<uint32_t>(fd.st.st_ino);
    entry.fifo = image::FifoEntry{.id = entry.id, .pipe_id = id, .regf_id = TRY(collect_path_of(fd, collected))};
    Collected::FifoState& state = collected.fifo_states[id];
    if (fd.access() == O_WRONLY) {
      int bytes = 0;
      if (::ioctl(fd.copy.get(), FIONREAD, &bytes) == 0 && bytes > 0) state.unread = fd.name();
    } else if (!std::exchange(state.stored, true)) {
      for (image::PipeData& piece : TRY(peek_pipe(fd.copy.get(), id, fd.name()))) collected.fifos.push_back(std::move(piece));
    }
    return {};
  }

  Result<void> complete(Collected& collected) const override {
    for (const auto& [id, state] : collected.fifo_states)
      if (!state.stored && !state.unread.empty())
        return error(ENOTSUP, "{} cannot be checkpointed: what is in this FIFO can only be read by processes outside the tree; try again", state.unread);
    return {};
  }

  Result<void> check(const image::FileEntry& entry, const Rebuild& rebuild) const override {
    const image::RegFileEntry* path = path_of(entry, rebuild);
    if (!path) return error(EBADMSG, "files.img has no path for this FIFO");
    if (const auto* remap = remap_of(path->id, rebuild.checkpoint)) return check_remapped(*path, *remap, rebuild);
    struct stat st;
    if (::stat(path->name.c_str(), &st) < 0) return sys_error("{}: the program had this FIFO open, so that it must exist", path->name);
    if (!S_ISFIFO(st.st_mode)) return error(EINVAL, "{}: is not a FIFO any more", path->name);
    return {};
  }

  Result<UniqueFd> recreate(const image::FileEntry& entry, Rebuild& rebuild) const override {
    const image::RegFileEntry& path = *path_of(entry, rebuild);
    UniqueFd& both = rebuild.fifos[entry.fifo->pipe_id];
    if (!both) TRY(open_both(entry.fifo->pipe_id, path, rebuild, both));
    UniqueFd fd = TRY(reopen(both.get(), path.flags | O_NONBLOCK, path.name));
    TRY(set_status_flags(fd.get(), path.flags, path.name));
    return fd;
  }

 private:
  static const image::RegFileEntry* path_of(const image::FileEntry& entry, const Rebuild& rebuild) {
    if (!entry.fifo || !entry.fifo->regf_id) return nullptr;
    const image::FileEntry* file = rebuild.checkpoint.file(*entry.fifo->regf_id);
    return file && file->reg ? &*file->reg : nullptr;
  }

  // Stays open until all ends are, because the contents go away with the last one.
  static Result<void> open_both(uint32_t id, const image::RegFileEntry& path, Rebuild& rebuild, UniqueFd& both) {
    image::RegFileEntry opening = path;
    opening.flags = O_RDWR;
    if (const auto* remap = remap_of(path.id, rebuild.checkpoint)) both = TRY(open_remapped(opening, *remap, rebuild));
    else both.reset(::open(path.name.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC));
    if (!both) return sys_error("{} cannot be opened", path.name);
    int bytes = 0;
    if (::ioctl(both.get(), FIONREAD, &bytes) == 0 && bytes > 0) {
      LOG_INFO("{}: its contents are still there, kept by another process", path.name);
      return {};
    }
    return fill_pipe(both.get(), id, rebuild.checkpoint.fifos);
  }
};

const Fifo kFifo;

}  // namespace

extern const FileKind& fifo_kind;
const FileKind& fifo_kind = kFifo;

}  // namespace faultline::objects
