// memfd_create(2) and shared anonymous memory (mmap of MAP_SHARED | MAP_ANONYMOUS, which is a file of the kernel's own named /dev/zero).
// Files on tmpfs's internal mount: recognised by name and by having no link. The contents are stored like memory.
#include <linux/magic.h>
#include <linux/memfd.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "core/objects/file_kind.h"

namespace faultline::objects {

namespace {

constexpr std::string_view kMemfdPrefix = "/memfd:";
constexpr std::string_view kDeleted = " (deleted)";
constexpr std::string_view kAnonymous = "/dev/zero";
constexpr uint32_t kAllSeals = 0x3f;

const image::MemfdInodeEntry* inode_of(uint32_t inode_id, const image::Checkpoint& checkpoint) {
  for (const image::MemfdInodeEntry& inode : checkpoint.memfds)
    if (inode.inode_id == inode_id) return &inode;
  return nullptr;
}

// Shared anonymous memory has no call that makes it as a file: it is mapped, and the mapping opened.
Result<UniqueFd> make_anonymous(const image::MemfdInodeEntry& inode) {
  const Mapping area = TRY(Mapping::map(page_up(inode.size), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0, "shared memory"));
  const auto start = reinterpret_cast<uintptr_t>(area.data());
  UniqueFd fd(::open(fmt::format("/proc/self/map_files/{:x}-{:x}", start, start + area.size()).c_str(), O_RDWR | O_CLOEXEC));
  if (!fd) return sys_error("shared anonymous memory cannot be opened through /proc/self/map_files (CAP_CHECKPOINT_RESTORE is needed)");
  return fd;
}

Result<UniqueFd> make_memfd(const image::MemfdInodeEntry& inode) {
  const unsigned sealing = inode.seals == F_SEAL_SEAL ? 0 : MFD_ALLOW_SEALING;
  UniqueFd fd(::memfd_create(inode.name.c_str(), MFD_CLOEXEC | sealing | inode.hugetlb_flag.value_or(0)));
  if (!fd) return sys_error("memfd \"{}\" cannot be made", inode.name);
  if (::ftruncate(fd.get(), static_cast<off_t>(inode.size)) < 0) return sys_error("memfd \"{}\" cannot be made {} bytes long", inode.name, inode.size);
  if (::fchown(fd.get(), inode.uid, inode.gid) < 0) return sys_error("memfd \"{}\": the owner cannot be set", inode.name);
  if (inode.mode && ::fchmod(fd.get(), *inode.mode & 07777) < 0) return sys_error("memfd \"{}\": the mode cannot be set", inode.name);
  return fd;
}

class Memfd final : public FileKind {
 public:
  image::FdTypes type() const override { return image::FdTypes::MEMFD; }

  bool recognises(const FdView& fd) const override {
    return S_ISREG(fd.st.st_mode) && fd.st.st_nlink == 0 && !fd.only_path() && major(fd.st.st_dev) == 0 && fd.link.ends_with(kDeleted) &&
           (fd.link.starts_with(kMemfdPrefix) || fd.link == std::string(kAnonymous) + std::string(kDeleted));
  }

  Result<void> collect(const FdView& fd, Collected& collected, image::FileEntry& entry) const override {
    const uint32_t inode = TRY(collect_memory(fd.reach(), fd.link, fd.st, fd.name(), collected));
    entry.memfd = image::MemfdFileEntry{.id = entry.id, .flags = fd.flags, .pos = fd.pos, .fown = TRY(owner_of(fd)), .inode_id = inode};
    return {};
  }

  Result<void> check(const image::FileEntry& entry, const Rebuild& rebuild) const override {
    if (!entry.memfd) return error(EBADMSG, "files.img has no part for this memfd");
    const auto* inode = inode_of(entry.memfd->inode_id, rebuild.checkpoint);
    if (!inode) return error(EBADMSG, "memfd.img has no inode {}", entry.memfd->inode_id);
    if (inode->seals & ~kAllSeals) return error(ENOTSUP, "memfd \"{}\" has seals {:#x}, which are not known", inode->name, inode->seals);
    return {};
  }

  Result<UniqueFd> recreate(const image::FileEntry& entry, Rebuild& rebuild) const override {
    const image::MemfdInodeEntry& inode = *inode_of(entry.memfd->inode_id, rebuild.checkpoint);
    UniqueFd& object = rebuild.memfds[entry.memfd->inode_id];
    if (!object) {
      UniqueFd fresh = TRY(inode.name == kAnonymous ? make_anonymous(inode) : make_memfd(inode));
      object = TRY(rebuild.out_of_the_way(std::move(fresh), inode.name));
    }
    UniqueFd fd = TRY(reopen(object.get(), entry.memfd->flags, fmt::format("memfd \"{}\"", inode.name)));
    if (entry.memfd->pos != 0 && ::lseek(fd.get(), static_cast<off_t>(entry.memfd->pos), SEEK_SET) < 0)
      return sys_error("memfd \"{}\": the position {} cannot be set", inode.name, entry.memfd->pos);
    return fd;
  }
};

const Memfd kMemfd;

}  // namespace

extern const FileKind& memfd_kind;
const FileKind& memfd_kind = kMemfd;

Result<uint32_t> collect_memory(const std::string& reach, const std::string& link, const struct stat& st, const std::string& who, Collected& collected) {
  const auto [at, fresh] = collected.memfd_of.try_emplace({st.st_dev, st.st_ino}, 0);
  if (!fresh) return at->second;
  at->second = static_cast<uint32_t>(collected.memfds.size() + 1);
  UniqueFd fd(::open(reach.c_str(), O_RDONLY | O_CLOEXEC | O_NOATIME));
  if (!fd) return sys_error("{} ({}): the memory cannot be opened for reading", who, link);
  struct statfs fs;
  if (::fstatfs(fd.get(), &fs) == 0 && fs.f_type == HUGETLBFS_MAGIC)
    return error(ENOTSUP, "{} ({}): memory of huge pages is not supported yet", who, link);
  const int seals = ::fcntl(fd.get(), F_GET_SEALS);
  if (seals < 0) return sys_error("{} ({}): its seals cannot be asked", who, link);
  image::MemfdInodeEntry inode;
  inode.name = link.substr(0, link.size() - kDeleted.size());
  if (inode.name.starts_with(kMemfdPrefix)) inode.name.erase(0, kMemfdPrefix.size());
  inode.uid = st.st_uid;
  inode.gid = st.st_gid;
  inode.size = static_cast<uint64_t>(st.st_size);
  inode.shmid = static_cast<uint32_t>(st.st_ino);
  inode.seals = static_cast<uint32_t>(seals);
  inode.inode_id = at->second;
  inode.mode = st.st_mode;
  collected.shared.push_back({.shmid = inode.shmid, .size = inode.size, .fd = std::move(fd)});
  collected.memfds.push_back(std::move(inode));
  return at->second;
}

Result<void> seal_memory(const Rebuild& rebuild) {
  for (const auto& [id, fd] : rebuild.memfds) {
    const image::MemfdInodeEntry& inode = *inode_of(id, rebuild.checkpoint);
    // The contents were put in as whole pages, which may have made the file longer.
    if (inode.name != kAnonymous && ::ftruncate(fd.get(), static_cast<off_t>(inode.size)) < 0)
      return sys_error("memfd \"{}\" cannot be made {} bytes long", inode.name, inode.size);
    if (inode.seals == F_SEAL_SEAL || inode.seals == 0) continue;
    if (::fcntl(fd.get(), F_ADD_SEALS, inode.seals) < 0) return sys_error("memfd \"{}\": the seals {:#x} cannot be set", inode.name, inode.seals);
  }
  return {};
}

}  // namespace faultline::objects
