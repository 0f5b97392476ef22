// pipe(2): both ends, what is in it, its capacity.
// Collected from the readable end with tee(2), which copies without taking out. Recreated as one pipe for all entries of one pipe_id.
// In packet mode (O_DIRECT, which CRIU refuses) each packet is an entry of its own in pipes-data.img, all with the same pipe_id.
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "core/objects/file_kind.h"

namespace faultline::objects {

namespace {

// Tells who else, besides the files that we know of, holds an end. The kernel says so only to the opposite end.
Result<short> poll_now(const FdView& fd) {
  pollfd p = {.fd = fd.copy.get(), .events = POLLIN | POLLOUT, .revents = 0};
  if (::poll(&p, 1, 0) < 0) return sys_error("{}", fd.name());
  return p.revents;
}

class Pipe final : public FileKind {
 public:
  image::FdTypes type() const override { return image::FdTypes::PIPE; }

  bool recognises(const FdView& fd) const override { return S_ISFIFO(fd.st.st_mode) && fd.link.starts_with("pipe:["); }

  Result<void> collect(const FdView& fd, Collected& collected, image::FileEntry& entry) const override {
    const auto pipe_id = static_cast<uint32_t>(fd.st.st_ino);
    entry.pipe = image::PipeEntry{.id = entry.id, .pipe_id = pipe_id, .flags = fd.flags, .fown = TRY(owner_of(fd))};
    const bool reads = fd.access() != O_WRONLY, writes = fd.access() != O_RDONLY;
    const short state = TRY(poll_now(fd));
    Collected::PipeSide& side = collected.pipe_sides[pipe_id];
    if (side.first.empty()) side.first = fd.name();
    side.read |= reads;
    side.write |= writes;
    if (reads && !writes) side.other_writers = !(state & POLLHUP);
    if (writes && !reads) side.other_readers = !(state & POLLERR);
    if (reads && !std::exchange(collected.pipe_done[pipe_id], true)) {
      for (image::PipeData& piece : TRY(peek_pipe(fd.copy.get(), pipe_id, fd.name()))) collected.pipes.push_back(std::move(piece));
    }
    return {};
  }

  Result<void> complete(Collected& collected) const override {
    for (const auto& [id, side] : collected.pipe_sides) {
      if ((side.read || !side.other_readers) && (side.write || !side.other_writers)) continue;
      return error(ENOTSUP, "{} cannot be checkpointed: the {} end of this pipe is held by a process outside the tree; checkpoint from a common "
                   "ancestor, or start the program with this descriptor on a file", side.first, side.read ? "writing" : "reading");
    }
    return {};
  }

  Result<void> check(const image::FileEntry& entry, const Rebuild& rebuild) const override {
    if (!entry.pipe) return error(EBADMSG, "files.img has no part for this pipe");
    static_cast<void>(rebuild);
    return {};
  }

  Result<UniqueFd> recreate(const image::FileEntry& entry, Rebuild& rebuild) const override {
    const uint32_t id = entry.pipe->pipe_id;
    const auto [at, fresh] = rebuild.pipes.try_emplace(id);
    Rebuild::Ends& ends = at->second;
    if (fresh) TRY(make(id, rebuild, ends));
    const uint32_t access = entry.pipe->flags & O_ACCMODE;
    // The first file of each direction is the one that pipe(2) made, others are opened through /proc, as the program must have done:
    // open(2) marks them with a flag that pipe(2) does not set.
    const bool from_pipe = !(entry.pipe->flags & kOpenedFile);
    UniqueFd fd;
    if (from_pipe && access == O_RDONLY && !std::exchange(ends.read_given, true)) fd.reset(::fcntl(ends.read.get(), F_DUPFD_CLOEXEC, rebuild.first_fd));
    else if (from_pipe && access == O_WRONLY && !std::exchange(ends.write_given, true)) fd.reset(::fcntl(ends.write.get(), F_DUPFD_CLOEXEC, rebuild.first_fd));
    else fd = TRY(reopen(access == O_WRONLY ? ends.write.get() : ends.read.get(), entry.pipe->flags, fmt::format("pipe {}", id)));
    if (!fd) return sys_error("pipe {}: no descriptor number is free", id);
    TRY(set_status_flags(fd.get(), entry.pipe->flags, fmt::format("pipe {}", id)));
    return fd;
  }

 private:
  static Result<void> make(uint32_t id, const Rebuild& rebuild, Rebuild::Ends& ends) {
    int fds[2];
    if (::pipe2(fds, O_CLOEXEC) < 0) return sys_error("pipe {} cannot be made", id);
    ends.read.reset(fds[0]);
    ends.write.reset(fds[1]);
    for (const auto& [file_id, entry] : rebuild.checkpoint.files)
      if (entry.pipe && entry.pipe->pipe_id == id && (entry.pipe->flags & O_DIRECT)) TRY(set_status_flags(ends.write.get(), O_DIRECT, "pipe"));
    return fill_pipe(ends.write.get(), id, rebuild.checkpoint.pipes);
  }
};

const Pipe kPipe;

}  // namespace

extern const FileKind& pipe_kind;
const FileKind& pipe_kind = kPipe;

Result<std::vector<image::PipeData>> peek_pipe(int fd, uint32_t pipe_id, const std::string& who) {
  image::PipeData data;
  data.entry.pipe_id = pipe_id;
  const int capacity = ::fcntl(fd, F_GETPIPE_SZ);
  int bytes = 0;
  if (capacity < 0 || ::ioctl(fd, FIONREAD, &bytes) < 0) return sys_error("{}: size and contents cannot be asked", who);
  data.entry.size = static_cast<uint32_t>(capacity);
  if (bytes == 0) return std::vector{data};
  int fds[2];
  if (::pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0) return sys_error("{}: no pipe for a copy of its contents", who);
  const UniqueFd out(fds[0]), in(fds[1]);
  // As many slots as the original has, because tee copies slots, not bytes. Without CAP_SYS_RESOURCE a larger one may be refused;
  // the count below tells whether what we have is enough.
  ::fcntl(in.get(), F_SETPIPE_SZ, capacity);
  const ssize_t copied = ::tee(fd, in.get(), static_cast<size_t>(bytes), SPLICE_F_NONBLOCK);
  if (copied < 0) return sys_error("{}: its contents cannot be copied (tee)", who);
  if (copied != bytes)
    return error(ENOTSUP, "{} cannot be checkpointed: only {} of its {} bytes can be copied; raise /proc/sys/fs/pipe-max-size to {}", who, copied, bytes,
                 capacity);
  std::vector<image::PipeData> pieces;
  std::string buffer(static_cast<size_t>(bytes), '\0');
  for (ssize_t left = bytes; left > 0;) {
    // All there is, or one packet.
    const ssize_t n = ::read(out.get(), buffer.data(), buffer.size());
    if (n <= 0) return sys_error("{}: the copy of its contents cannot be read", who);
    data.entry.bytes = static_cast<uint32_t>(n);
    data.bytes.assign(buffer, 0, static_cast<size_t>(n));
    pieces.push_back(data);
    left -= n;
  }
  return pieces;
}

namespace {

Result<void> write_piece(int fd, const image::PipeData& data) {
  for (size_t put = 0; put < data.bytes.size();) {
    const ssize_t n = ::write(fd, data.bytes.data() + put, data.bytes.size() - put);
    if (n < 0 && errno == EAGAIN)
      return error(ENOSPC, "pipe {}: its {} bytes do not fit; raise /proc/sys/fs/pipe-max-size to {}", data.entry.pipe_id, data.bytes.size(),
                   data.entry.size.value_or(0));
    if (n < 0) return sys_error("pipe {}: its contents cannot be written", data.entry.pipe_id);
    put += static_cast<size_t>(n);
  }
  return {};
}

}  // namespace

Result<void> fill_pipe(int write_fd, uint32_t pipe_id, const std::vector<image::PipeData>& all) {
  std::vector<const image::PipeData*> pieces;
  for (const image::PipeData& data : all)
    if (data.entry.pipe_id == pipe_id) pieces.push_back(&data);
  if (pieces.empty()) return {};
  // A pipe larger than pipe-max-size needs CAP_SYS_RESOURCE. If it cannot be had, the smaller one will do as long as the data fit.
  const std::optional<uint32_t> size = pieces.front()->entry.size;
  const int now = ::fcntl(write_fd, F_GETPIPE_SZ);
  const bool sized = !size || static_cast<int>(*size) == now || ::fcntl(write_fd, F_SETPIPE_SZ, *size) >= 0;
  if (!sized && errno != EPERM) return sys_error("pipe {}: the capacity {} cannot be set", pipe_id, *size);
  const int flags = ::fcntl(write_fd, F_GETFL);
  if (flags < 0 || ::fcntl(write_fd, F_SETFL, flags | O_NONBLOCK | (pieces.size() > 1 ? O_DIRECT : 0)) < 0) return sys_error("pipe {}", pipe_id);
  for (const image::PipeData* piece : pieces) TRY(write_piece(write_fd, *piece));
  if (::fcntl(write_fd, F_SETFL, flags) < 0) return sys_error("pipe {}", pipe_id);
  return {};
}

}  // namespace faultline::objects
