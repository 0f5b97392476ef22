// inotify(7): the watches, each with its number. fdinfo tells the watched inode as a file handle, from which the path is found.
// Events that the program has not read are not in the image format: they are lost, with a warning.
#include <poll.h>
#include <sys/inotify.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cinttypes>
#include <cstdio>
#include <cstring>

#include "core/base/log.h"
#include "core/objects/file_kind.h"
#include "core/sys/proc.h"

namespace faultline::objects {

namespace {

constexpr size_t kHandleWords = 16;  // at least so many are always written
// Numbers of watches are given out in ascending order, so that reaching a high one takes as many calls.
constexpr uint32_t kLastWatch = 1 << 20;

// A directory on the file system with this device, for open_by_handle_at(2).
Result<UniqueFd> mount_of(uint32_t device) {
  const std::string wanted = fmt::format(" {}:{} ", device >> 20, device & 0xfffff);
  const std::string mounts = TRY(sys::read_proc("/proc/self/mountinfo"));
  for (size_t at = 0; at < mounts.size();) {
    const size_t end = std::min(mounts.find('\n', at), mounts.size());
    const std::string line = mounts.substr(at, end - at);
    at = end + 1;
    if (line.find(wanted) == std::string::npos) continue;
    char point[4096];
    if (std::sscanf(line.c_str(), "%*d %*d %*s %*s %4095s", point) != 1) continue;
    UniqueFd fd(::open(point, O_RDONLY | O_CLOEXEC));
    if (fd) return fd;
  }
  return error(ENOENT, "no mount of device {}:{} is found", device >> 20, device & 0xfffff);
}

Result<std::string> path_of_handle(uint32_t device, int type, const std::string& bytes) {
  const UniqueFd mount = TRY(mount_of(device));
  alignas(file_handle) char space[sizeof(file_handle) + MAX_HANDLE_SZ];
  auto* handle = reinterpret_cast<file_handle*>(space);
  if (bytes.size() > MAX_HANDLE_SZ) return error(EINVAL, "a file handle of {} bytes", bytes.size());
  handle->handle_bytes = static_cast<unsigned>(bytes.size());
  handle->handle_type = type;
  std::memcpy(handle->f_handle, bytes.data(), bytes.size());
  const UniqueFd fd(::open_by_handle_at(mount.get(), handle, O_PATH | O_CLOEXEC));
  if (!fd) return sys_error("the file handle cannot be opened (CAP_DAC_READ_SEARCH is needed)");
  const std::string path = TRY(sys::read_link(fmt::format("/proc/self/fd/{}", fd.get())));
  struct stat of_handle, of_path;
  if (::fstat(fd.get(), &of_handle) < 0 || ::lstat(path.c_str(), &of_path) < 0 || of_handle.st_ino != of_path.st_ino || of_handle.st_dev != of_path.st_dev)
    return error(ENOENT, "{} does not lead to the watched file any more", path);
  return path;
}

std::string bytes_of_hex(const char* hex) {
  std::string bytes;
  for (unsigned value = 0; hex[0] && hex[1] && std::sscanf(hex, "%2x", &value) == 1; hex += 2) bytes += static_cast<char>(value);
  return bytes;
}

class Inotify final : public FileKind {
 public:
  image::FdTypes type() const override { return image::FdTypes::INOTIFY; }

  bool recognises(const FdView& fd) const override { return fd.link == "anon_inode:inotify"; }

  Result<void> collect(const FdView& fd, Collected&, image::FileEntry& entry) const override {
    image::InotifyFileEntry inotify;
    inotify.id = entry.id;
    inotify.flags = fd.flags;
    inotify.fown = TRY(owner_of(fd));
    for (size_t at = fd.fdinfo.find("inotify wd:"); at != std::string::npos; at = fd.fdinfo.find("inotify wd:", at + 1))
      inotify.wd.push_back(TRY(watch(fd, fd.fdinfo.c_str() + at)));
    std::sort(inotify.wd.begin(), inotify.wd.end(), [](const auto& a, const auto& b) { return a.wd < b.wd; });
    pollfd p = {.fd = fd.copy.get(), .events = POLLIN, .revents = 0};
    if (::poll(&p, 1, 0) > 0) LOG_WARNING("{}: events that the program has not read yet are lost", fd.name());
    entry.ify = std::move(inotify);
    return {};
  }

  Result<void> check(const image::FileEntry& entry, const Rebuild&) const override {
    if (!entry.ify) return error(EBADMSG, "files.img has no part for this inotify");
    for (const image::InotifyWdEntry& wd : entry.ify->wd) {
      if (!wd.f_handle.path) return error(ENOTSUP, "watch {} has no path; images that only have file handles cannot be restored yet", wd.wd);
      if (wd.wd == 0 || wd.wd > kLastWatch) return error(EBADMSG, "watch {} is not a valid number", wd.wd);
      struct stat st;
      if (::lstat(wd.f_handle.path->c_str(), &st) < 0) return sys_error("{}: the program watched it, so that it must exist", *wd.f_handle.path);
    }
    return {};
  }

  Result<UniqueFd> recreate(const image::FileEntry& entry, Rebuild& rebuild) const override {
    UniqueFd fd(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
    if (!fd) return sys_error("inotify cannot be made");
    std::vector<image::InotifyWdEntry> wds = entry.ify->wd;
    std::sort(wds.begin(), wds.end(), [](const auto& a, const auto& b) { return a.wd < b.wd; });
    for (const image::InotifyWdEntry& wd : wds) TRY(add(fd.get(), wd));
    // Last of all, because opening the other files may be noticed.
    rebuild.at_the_end.push_back([&rebuild, id = entry.id, flags = entry.ify->flags]() -> Result<void> {
      const int s = rebuild.open[id].get();
      char events[4096];
      while (::read(s, events, sizeof events) > 0) {
      }
      return set_status_flags(s, flags, "inotify");
    });
    return fd;
  }

 private:
  static Result<image::InotifyWdEntry> watch(const FdView& fd, const char* line) {
    image::InotifyWdEntry wd;
    char hex[2 * MAX_HANDLE_SZ + 1];
    static_assert(MAX_HANDLE_SZ == 128);
    if (std::sscanf(line, "inotify wd:%" SCNx32 " ino:%" SCNx64 " sdev:%" SCNx32 " mask:%" SCNx32 " ignored_mask:%" SCNx32
                          " fhandle-bytes:%" SCNx32 " fhandle-type:%" SCNx32 " f_handle:%256[0-9a-f]",
                    &wd.wd, &wd.i_ino, &wd.s_dev, &wd.mask, &wd.ignored_mask, &wd.f_handle.bytes, &wd.f_handle.type, hex) != 8)
      return fd.refuse("fdinfo does not tell a file handle of what it watches (the file system has none?)");
    std::string bytes = bytes_of_hex(hex);
    auto path = path_of_handle(wd.s_dev, static_cast<int>(wd.f_handle.type), bytes);
    if (!path) return fd.refuse(fmt::format("watch {}: {}", wd.wd, path.error().what));
    wd.f_handle.path = std::move(*path);
    bytes.resize(std::max(kHandleWords * 8, (bytes.size() + 7) & ~size_t{7}));
    wd.f_handle.handle.resize(bytes.size() / 8);
    std::memcpy(wd.f_handle.handle.data(), bytes.data(), bytes.size());
    return wd;
  }

  static Result<void> add(int fd, const image::InotifyWdEntry& wd) {
    // Numbers go up by one each time, also when the watch is taken away again.
    for (;;) {
      const int got = ::inotify_add_watch(fd, wd.f_handle.path->c_str(), wd.mask);
      if (got < 0) return sys_error("{} cannot be watched", *wd.f_handle.path);
      if (static_cast<uint32_t>(got) == wd.wd) return {};
      if (static_cast<uint32_t>(got) > wd.wd) return error(EBADMSG, "{} cannot be watch {}: the kernel gave number {}", *wd.f_handle.path, wd.wd, got);
      ::inotify_rm_watch(fd, got);
    }
  }
};

const Inotify kInotify;

}  // namespace

extern const FileKind& inotify_kind;
const FileKind& inotify_kind = kInotify;

}  // namespace faultline::objects
