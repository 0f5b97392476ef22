#include "browse/private_dir.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

namespace faultline::browse {

namespace {

// fsopen(2) and friends; the C library of Debian 12 declares them in a header that contradicts the kernel's.
UniqueFd detached_tmpfs() {
  const UniqueFd context(static_cast<int>(::syscall(SYS_fsopen, "tmpfs", FSOPEN_CLOEXEC)));
  if (!context || ::syscall(SYS_fsconfig, context.get(), FSCONFIG_SET_STRING, "mode", "0700", 0) != 0 ||
      ::syscall(SYS_fsconfig, context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0)
    return {};
  const UniqueFd mount(static_cast<int>(::syscall(SYS_fsmount, context.get(), FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC)));
  return mount ? UniqueFd(::openat(mount.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)) : UniqueFd();
}

}  // namespace

Result<PrivateDir> PrivateDir::create(const std::string& name) {
  if (UniqueFd fd = detached_tmpfs()) return PrivateDir(image::ImageDir::adopt(std::move(fd), name), "");
  const char* base = ::getenv("TMPDIR");
  std::string path = std::string(base && *base ? base : "/tmp") + "/faultline.XXXXXX";
  if (!::mkdtemp(path.data())) return sys_error("a directory for fetched images, {}", path);
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return sys_error("{}", path);
  return PrivateDir(image::ImageDir::adopt(std::move(fd), name), path);
}

PrivateDir::~PrivateDir() {
  std::error_code ignored;
  if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
}

}  // namespace faultline::browse
