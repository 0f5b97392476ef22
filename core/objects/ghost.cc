// Deleted files that are still open. Their contents are stored in ghost-file-<id>.img, once for each inode. The restore makes the file
// again under a name of its own, links it to the old name for as long as it takes to open it, and removes both names. A file that has the
// old name by now is renamed for that time (NAME.cr.<id>.ghost.aside), so that the restored program sees the name that it saw.
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>

#include "core/base/log.h"
#include "core/objects/file_kind.h"
#include "core/sys/proc.h"

namespace faultline::objects {

namespace {

// From this size on data and holes are told apart.
constexpr int64_t kChunkedFrom = 12288;
constexpr size_t kPiece = 1 << 20;

// True if the mount that the file was opened on is one that paths lead to. Memory of drivers and of the kernel looks like deleted files
// too, on mounts of the kernel's own.
Result<bool> on_a_real_mount(const std::string& reach) {
  const UniqueFd fd(::open(reach.c_str(), O_PATH | O_CLOEXEC));
  if (!fd) return sys_error("{}", reach);
  const std::string info = TRY(sys::read_proc(fmt::format("/proc/self/fdinfo/{}", fd.get())));
  const size_t at = info.find("mnt_id:");
  if (at == std::string::npos) return false;
  const std::string id = std::to_string(std::atoi(info.c_str() + at + 7)) + " ";
  const std::string mounts = TRY(sys::read_proc("/proc/self/mountinfo"));
  return mounts.starts_with(id) || mounts.find("\n" + id) != std::string::npos;
}

image::Timeval timeval_of(const timespec& t) {
  return {.tv_sec = static_cast<uint64_t>(t.tv_sec), .tv_usec = static_cast<uint64_t>(t.tv_nsec / 1000)};
}

std::string image_name(uint32_t id) { return fmt::format("ghost-file-{:x}.img", id); }

Result<void> copy_range(const Ghost& ghost, image::Writer& writer, off_t from, off_t to) {
  std::vector<std::byte> piece(std::min<size_t>(kPiece, static_cast<size_t>(to - from)));
  while (from < to) {
    const size_t n = std::min<size_t>(piece.size(), static_cast<size_t>(to - from));
    TRY(pread_all(ghost.fd.get(), piece.data(), n, from, "a deleted file"));
    TRY(writer.payload(std::span(piece).first(n)));
    from += static_cast<off_t>(n);
  }
  return {};
}

Result<void> write_ghost(const Ghost& ghost, const image::ImageDir& dir) {
  image::Writer writer = TRY(image::Writer::create(dir, image_name(ghost.id), image::kGhostFile));
  image::GhostFileEntry entry;
  entry.uid = ghost.st.st_uid;
  entry.gid = ghost.st.st_gid;
  entry.mode = ghost.st.st_mode;
  entry.dev = (major(ghost.st.st_dev) << 20) | minor(ghost.st.st_dev);
  entry.ino = ghost.st.st_ino;
  if (S_ISCHR(ghost.st.st_mode) || S_ISBLK(ghost.st.st_mode)) entry.rdev = static_cast<uint32_t>(ghost.st.st_rdev);
  entry.atim = timeval_of(ghost.st.st_atim);
  entry.mtim = timeval_of(ghost.st.st_mtim);
  const bool chunks = S_ISREG(ghost.st.st_mode) && ghost.st.st_size >= kChunkedFrom;
  if (chunks) {
    entry.chunks = true;
    entry.size = static_cast<uint64_t>(ghost.st.st_size);
  }
  TRY(writer.put(entry));
  if (!chunks && S_ISREG(ghost.st.st_mode)) TRY(copy_range(ghost, writer, 0, ghost.st.st_size));
  for (off_t at = 0; chunks && at < ghost.st.st_size;) {
    const off_t data = ::lseek(ghost.fd.get(), at, SEEK_DATA);
    if (data < 0) break;  // ENXIO: only a hole is left
    const off_t end = std::min(::lseek(ghost.fd.get(), data, SEEK_HOLE), ghost.st.st_size);
    if (end <= data) break;
    TRY(writer.put(image::GhostChunkEntry{.len = static_cast<uint64_t>(end - data), .off = static_cast<uint64_t>(data)}));
    TRY(copy_range(ghost, writer, data, end));
    at = end;
  }
  return writer.close();
}

// Puts the payload of the image, `size` bytes at its present place, into the file.
Result<void> fill(image::Reader& reader, int fd, uint64_t size, uint64_t offset, const std::string& path) {
  uint64_t from = TRY(reader.skip(size));
  std::vector<std::byte> piece(std::min<uint64_t>(kPiece, size));
  while (size > 0) {
    const size_t n = std::min<uint64_t>(piece.size(), size);
    TRY(pread_all(reader.fd(), piece.data(), n, static_cast<off_t>(from), "the image of a deleted file"));
    TRY(pwrite_all(fd, piece.data(), n, static_cast<off_t>(offset), path.c_str()));
    from += n, offset += n, size -= n;
  }
  return {};
}

Result<void> fill_regular(image::Reader& reader, const image::GhostFileEntry& entry, const std::string& path) {
  const UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!fd) return sys_error("{}: the deleted file cannot be made again", path);
  if (!entry.chunks.value_or(false)) {
    struct stat st;
    if (::fstat(reader.fd(), &st) < 0) return sys_error("{}", path);
    TRY(fill(reader, fd.get(), static_cast<uint64_t>(st.st_size) - reader.offset(), 0, path));
    return {};
  }
  const uint64_t size = entry.size.value_or(0);
  if (::ftruncate(fd.get(), static_cast<off_t>(size)) < 0) return sys_error("{}: cannot be made {} bytes long", path, size);
  for (;;) {
    const uint64_t at = reader.offset();
    const auto chunk = TRY(reader.next<image::GhostChunkEntry>());
    if (!chunk) return {};
    if (chunk->off > size || chunk->len > size - chunk->off) return reader.bad(at, "the chunk lies outside the file");
    TRY(fill(reader, fd.get(), chunk->len, chunk->off, path));
  }
}

Result<void> make_ghost(image::Reader& reader, const image::GhostFileEntry& entry, const std::string& path) {
  const mode_t mode = entry.mode & 07777;
  if (S_ISREG(entry.mode)) TRY(fill_regular(reader, entry, path));
  else if (S_ISDIR(entry.mode) ? ::mkdir(path.c_str(), 0700) < 0 : ::mknod(path.c_str(), (entry.mode & S_IFMT) | 0600, entry.rdev.value_or(0)) < 0)
    return sys_error("{}: the deleted file cannot be made again", path);
  if (::chown(path.c_str(), entry.uid, entry.gid) < 0 || ::chmod(path.c_str(), mode) < 0)
    return sys_error("{}: owner and permissions cannot be set", path);
  if (entry.atim && entry.mtim) {
    const struct timeval times[2] = {{static_cast<time_t>(entry.atim->tv_sec), static_cast<suseconds_t>(entry.atim->tv_usec)},
                                     {static_cast<time_t>(entry.mtim->tv_sec), static_cast<suseconds_t>(entry.mtim->tv_usec)}};
    if (::utimes(path.c_str(), times) < 0) return sys_error("{}: times cannot be set", path);
  }
  return {};
}

// Remaps of old versions tell their type by bit 31.
bool is_ghost(const image::RemapFilePathEntry& remap) {
  return remap.remap_type ? *remap.remap_type == image::RemapType::GHOST : (remap.remap_id >> 31) != 0;
}

}  // namespace

Result<void> collect_ghost(const OpenedPath& path, const std::string& name, uint32_t id, Collected& collected) {
  const auto refuse = [&](std::string_view why) { return error(ENOTSUP, "{} cannot be checkpointed: {}", path.who, why); };
  if (!TRY(on_a_real_mount(path.reach))) return refuse("it is memory of the kernel or of a driver, not a file");
  if (path.st.st_nlink > 0 && !S_ISDIR(path.st.st_mode))
    return refuse("this name was deleted while another one (a hard link) exists, which is not supported yet (--link-remap)");
  if (S_ISREG(path.st.st_mode) && static_cast<uint64_t>(path.st.st_size) > collected.policy.ghost_limit)
    return refuse(fmt::format("it is a deleted file of {} bytes, more than the limit of {}; raise it with --ghost-limit", path.st.st_size,
                              collected.policy.ghost_limit));
  if (!S_ISREG(path.st.st_mode) && !S_ISDIR(path.st.st_mode) && !S_ISFIFO(path.st.st_mode) && !S_ISCHR(path.st.st_mode))
    return refuse("a deleted file of this kind is not supported");
  if (const size_t parent = name.rfind('/'); ::access(name.substr(0, parent + 1).c_str(), F_OK) < 0)
    return refuse("the directory that it was deleted from does not exist any more, so that it cannot be made again");
  const auto [at, fresh] = collected.ghost_of.try_emplace({path.st.st_dev, path.st.st_ino}, 0);
  if (fresh) {
    at->second = static_cast<uint32_t>(collected.ghosts.size() + 1);
    Ghost ghost = {.id = at->second, .st = path.st, .fd = {}, .target = {}};
    if (S_ISREG(path.st.st_mode)) {
      ghost.fd.reset(::open(path.reach.c_str(), O_RDONLY | O_CLOEXEC | O_NOATIME));
      if (!ghost.fd) return sys_error("{}: the deleted file cannot be read", path.who);
    }
    collected.ghosts.push_back(std::move(ghost));
  }
  collected.remaps.push_back({.orig_id = id, .remap_id = at->second, .remap_type = image::RemapType::GHOST});
  return {};
}

Result<void> write_ghosts(const Collected& collected, const image::ImageDir& dir) {
  for (const Ghost& ghost : collected.ghosts) TRY(write_ghost(ghost, dir));
  return {};
}

const image::RemapFilePathEntry* remap_of(uint32_t file_id, const image::Checkpoint& checkpoint) {
  for (const image::RemapFilePathEntry& remap : checkpoint.remaps)
    if (remap.orig_id == file_id) return &remap;
  return nullptr;
}

Result<void> check_remapped(const image::RegFileEntry& reg, const image::RemapFilePathEntry& remap, const Rebuild& rebuild) {
  if (!is_ghost(remap)) return error(ENOTSUP, "{}: only deleted files with their contents (ghosts) can be restored yet", reg.name);
  const uint32_t id = remap.remap_id & 0x7fffffff;
  auto reader = TRY(image::Reader::open(rebuild.dir, image_name(id), image::kGhostFile));
  if (!reader.exists()) return error(ENOENT, "{}/{}: this image is missing", rebuild.dir.name(), image_name(id));
  const std::string parent = reg.name.substr(0, reg.name.rfind('/') + 1);
  if (::access(parent.c_str(), W_OK) < 0) return sys_error("{}: the deleted file {} cannot be made there again", parent, reg.name);
  return {};
}

Result<UniqueFd> open_remapped(const image::RegFileEntry& reg, const image::RemapFilePathEntry& remap, Rebuild& rebuild) {
  const uint32_t id = remap.remap_id & 0x7fffffff;
  if (!rebuild.ghosts.contains(id)) {
    auto reader = TRY(image::Reader::open(rebuild.dir, image_name(id), image::kGhostFile));
    const auto entry = TRY(reader.next<image::GhostFileEntry>());
    if (!entry) return reader.bad(reader.offset(), "an entry is expected here");
    const bool directory = S_ISDIR(entry->mode);
    // A directory cannot have two names: it gets the old one at once.
    const std::string path = directory ? reg.name : fmt::format("{}.cr.{:x}.ghost", reg.name, id);
    if (!directory && ::unlink(path.c_str()) == 0) LOG_WARNING("{}: removed what a broken restore left behind", path);
    rebuild.ghosts[id] = {path, directory};
    TRY(make_ghost(reader, *entry, path));
  }
  const Rebuild::GhostFile& ghost = rebuild.ghosts[id];
  const int flags = static_cast<int>(open_flags(reg.flags));
  if (ghost.directory) {
    UniqueFd fd(::open(ghost.path.c_str(), flags));
    if (!fd) return sys_error("{}: the deleted directory cannot be opened", reg.name);
    return fd;
  }
  // Another file that has the name now steps aside for the moment.
  const std::string aside = ghost.path + ".aside";
  const bool taken = ::rename(reg.name.c_str(), aside.c_str()) == 0;
  if (!taken && errno != ENOENT) return sys_error("{}: the deleted file cannot get its name back, because this one cannot be moved", reg.name);
  UniqueFd fd;
  const bool linked = ::link(ghost.path.c_str(), reg.name.c_str()) == 0;
  if (linked) fd.reset(::open(reg.name.c_str(), flags));
  const int failed = errno;
  if (linked) ::unlink(reg.name.c_str());
  if (taken && ::rename(aside.c_str(), reg.name.c_str()) < 0) return sys_error("{} cannot be moved back to {}", aside, reg.name);
  errno = failed;
  if (!fd) return sys_error("{}: the deleted file cannot be opened under its name", reg.name);
  return fd;
}

void remove_ghost_names(Rebuild& rebuild) {
  for (const auto& [id, ghost] : rebuild.ghosts)
    if ((ghost.directory ? ::rmdir(ghost.path.c_str()) : ::unlink(ghost.path.c_str())) < 0 && errno != ENOENT)
      LOG_WARNING("{}: the name made for a deleted file cannot be removed: {}", ghost.path, errno_text(errno));
  rebuild.ghosts.clear();
}

}  // namespace faultline::objects
