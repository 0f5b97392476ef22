// Files that are opened by path: regular files, directories, harmless devices, and O_PATH descriptors of anything.
// Collected with path, flags and offset; opened again by path. A deleted one travels as a ghost (ghost.cc).
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "core/objects/file_kind.h"
#include "core/sys/build_id.h"
#include "core/sys/proc.h"

namespace faultline::objects {

namespace {

constexpr uint64_t kNoSeek = ~uint64_t{0};
constexpr std::string_view kDeleted = " (deleted)";

// Devices that keep no state for each opener: null, zero, full, random, urandom, kmsg.
bool harmless_device(const struct stat& st) {
  return S_ISCHR(st.st_mode) && major(st.st_rdev) == 1 && (minor(st.st_rdev) == 3 || minor(st.st_rdev) == 5 || minor(st.st_rdev) == 7 ||
                                                          minor(st.st_rdev) == 8 || minor(st.st_rdev) == 9);
}

// /proc/1234/...: belongs to a process, which does not exist yet when files are opened.
bool of_a_process(const std::string& path) {
  if (!path.starts_with("/proc/")) return false;
  return path.size() > 6 && path[6] >= '0' && path[6] <= '9';
}

class RegularFile final : public FileKind {
 public:
  image::FdTypes type() const override { return image::FdTypes::REG; }

  bool recognises(const FdView& fd) const override {
    if (!fd.link.starts_with("/")) return false;
    return fd.only_path() || S_ISREG(fd.st.st_mode) || S_ISDIR(fd.st.st_mode) || harmless_device(fd.st);
  }

  Result<void> collect(const FdView& fd, Collected& collected, image::FileEntry& entry) const override {
    const OpenedPath path = {.who = fd.name(), .link = fd.link, .reach = fd.reach(), .st = fd.st, .flags = fd.flags,
                             .pos = fd.only_path() ? kNoSeek : fd.pos, .fown = TRY(owner_of(fd))};
    entry.reg = TRY(collect_path(path, entry.id, collected));
    return {};
  }

  Result<void> check(const image::FileEntry& entry, const Rebuild& rebuild) const override {
    if (!entry.reg) return error(EBADMSG, "files.img has no path for it");
    const image::RegFileEntry& reg = *entry.reg;
    if (reg.ext.value_or(false)) return error(ENOTSUP, "{} is external; --inherit-fd is not supported yet", reg.name);
    if (!reg.name.starts_with("/")) return error(EBADMSG, "the path \"{}\" is not absolute", reg.name);
    if (const auto* remap = remap_of(entry.id, rebuild.checkpoint)) return check_remapped(reg, *remap, rebuild);
    struct stat st;
    const bool itself = reg.flags & O_NOFOLLOW;
    if ((itself ? ::lstat(reg.name.c_str(), &st) : ::stat(reg.name.c_str(), &st)) < 0)
      return sys_error("{}: the program had it open, so that it must exist before the restore", reg.name);
    if (rebuild.policy.validate_size && reg.size && S_ISREG(st.st_mode) && static_cast<uint64_t>(st.st_size) != *reg.size)
      return error(EINVAL, "{}: is {} bytes long, but was {} at the dump; put the old contents back", reg.name, st.st_size, *reg.size);
    if (rebuild.policy.validate_mode && reg.mode && (st.st_mode & 0777) != (*reg.mode & 0777))
      return error(EINVAL, "{}: has permissions {:o}, but had {:o} at the dump; change them back, or restore with --skip-file-rwx-check", reg.name,
                   st.st_mode & 0777, *reg.mode & 0777);
    if (reg.mode && (st.st_mode & S_IFMT) != (*reg.mode & S_IFMT)) return error(EINVAL, "{}: is another kind of file than at the dump", reg.name);
    return {};
  }

  Result<UniqueFd> recreate(const image::FileEntry& entry, Rebuild& rebuild) const override {
    const image::RegFileEntry& reg = *entry.reg;
    UniqueFd fd;
    if (const auto* remap = remap_of(entry.id, rebuild.checkpoint)) fd = TRY(open_remapped(reg, *remap, rebuild));
    else fd.reset(::open(reg.name.c_str(), static_cast<int>(open_flags(reg.flags))));
    if (!fd) return sys_error("{} cannot be opened with flags {:#o}", reg.name, reg.flags);
    if (reg.pos != kNoSeek && reg.pos != 0 && ::lseek(fd.get(), static_cast<off_t>(reg.pos), SEEK_SET) < 0)
      return sys_error("{}: the position {} cannot be set", reg.name, reg.pos);
    return fd;
  }
};

const RegularFile kRegularFile;

}  // namespace

extern const FileKind& regular_file_kind;
const FileKind& regular_file_kind = kRegularFile;

Result<image::RegFileEntry> collect_path(const OpenedPath& path, uint32_t id, Collected& collected) {
  image::RegFileEntry reg;
  reg.id = id;
  reg.flags = path.flags;
  reg.pos = path.pos;
  reg.fown = path.fown;
  reg.name = path.link;
  reg.mode = path.st.st_mode;
  if (S_ISREG(path.st.st_mode) && (path.flags & (O_WRONLY | O_APPEND)) != (O_WRONLY | O_APPEND)) reg.size = static_cast<uint64_t>(path.st.st_size);
  if (S_ISREG(path.st.st_mode) && !(path.flags & O_PATH)) reg.build_id = sys::build_id_of(UniqueFd(::open(path.reach.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)).get());
  if (!reg.name.starts_with("/")) return error(ENOTSUP, "{} cannot be checkpointed: {} is not a path", path.who, path.link);
  if (of_a_process(reg.name))
    return error(ENOTSUP, "{} cannot be checkpointed: open files of processes under /proc are not supported yet", path.who);
  struct stat now;
  if (::lstat(reg.name.c_str(), &now) == 0 && now.st_ino == path.st.st_ino && now.st_dev == path.st.st_dev) return reg;
  if (path.link.ends_with(kDeleted)) {
    reg.name.resize(reg.name.size() - kDeleted.size());
    TRY(collect_ghost(path, reg.name, id, collected));
    return reg;
  }
  if (::stat(reg.name.c_str(), &now) == 0 && now.st_ino == path.st.st_ino && now.st_dev == path.st.st_dev) return reg;
  if (collected.policy.evasive_devices && S_ISCHR(path.st.st_mode) && ::stat(reg.name.c_str(), &now) == 0 && now.st_rdev == path.st.st_rdev) return reg;
  return error(ENOTSUP, "{} cannot be checkpointed: the path {} leads to another file now (a mount over it, or another mount namespace?)", path.who,
               reg.name);
}

Result<uint32_t> collect_path_of(const FdView& fd, Collected& collected) {
  const OpenedPath path = {.who = fd.name(), .link = fd.link, .reach = fd.reach(), .st = fd.st, .flags = fd.flags, .pos = kNoSeek,
                           .fown = TRY(owner_of(fd))};
  image::FileEntry entry;
  entry.type = image::FdTypes::REG;
  entry.id = ++collected.last_id;
  entry.reg = TRY(collect_path(path, entry.id, collected));
  const uint32_t id = entry.id;
  collected.add(std::move(entry));
  return id;
}

}  // namespace faultline::objects
