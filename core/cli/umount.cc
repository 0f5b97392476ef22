#include <limits.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>

#include "core/base/log.h"
#include "core/cli/commands.h"
#include "core/sys/proc.h"

namespace faultline::cli {

namespace {

// What is written as \040 in mountinfo.
std::string unescaped(std::string_view text) {
  std::string plain;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size()) {
      plain += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + (text[i + 3] - '0'));
      i += 3;
    } else {
      plain += text[i];
    }
  }
  return plain;
}

std::string_view word(std::string_view line, size_t number) {
  for (; number > 0; --number) line = line.substr(std::min(line.find(' '), line.size() - 1) + 1);
  return line.substr(0, line.find(' '));
}

// The type of the file system that is mounted last at a path; empty if none is.
Result<std::string> mounted_type(const std::string& path) {
  const std::string all = TRY(sys::read_proc("/proc/self/mountinfo"));
  std::string type;
  for (std::string_view rest = all; !rest.empty();) {
    const std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(line.size() + 1, rest.size()));
    const size_t dash = line.find(" - ");
    if (dash != std::string_view::npos && unescaped(word(line, 4)) == path) type = word(line.substr(dash + 3), 0);
  }
  return type;
}

// An absolute path without links. What is mounted there may be dead, so that only the way to it is looked at.
Result<std::string> absolute(const std::string& path) {
  char real[PATH_MAX];
  if (::realpath(path.c_str(), real)) return std::string(real);
  if (errno != ENOTCONN && errno != EACCES) return sys_error("{}", path);
  std::string_view plain = path;
  while (plain.size() > 1 && plain.ends_with('/')) plain.remove_suffix(1);
  const size_t slash = plain.rfind('/');
  const std::string parent = slash == std::string_view::npos ? "." : slash == 0 ? "/" : std::string(plain.substr(0, slash));
  if (!::realpath(parent.c_str(), real)) return sys_error("{}", parent);
  const std::string base = real;
  return base + (base.ends_with('/') ? "" : "/") + std::string(slash == std::string_view::npos ? plain : plain.substr(slash + 1));
}

// For those who are not root.
Result<void> by_fusermount(const std::string& path) {
  const pid_t pid = ::fork();
  if (pid < 0) return sys_error("cannot start fusermount3");
  if (pid == 0) {
    ::execlp("fusermount3", "fusermount3", "-u", path.c_str(), nullptr);
    ::_exit(127);
  }
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {}
  if (status == 0) return {};
  if (WIFEXITED(status) && WEXITSTATUS(status) == 127) return error(EPERM, "{}: to unmount it without root takes fusermount3 (Debian: fuse3)", path);
  return error(EPERM, "{}: fusermount3 did not unmount it; it has told why", path);
}

Result<int> run_umount(Context& context) {
  const std::string path = TRY(absolute(context.options.words[0]));
  const std::string type = TRY(mounted_type(path));
  if (type != "fuse.faultline")
    return error(EINVAL, "{}: no checkpoint is mounted here{}", path, type.empty() ? "" : fmt::format(", but a file system of type {}; unmount that with umount", type));
  if (::umount2(path.c_str(), UMOUNT_NOFOLLOW) == 0) return 0;
  if (errno == EPERM) {
    TRY(by_fusermount(path));
    return 0;
  }
  if (errno == EBUSY)
    return error(EBUSY, "{} is in use: somebody has a file open in it or stands in it (fuser -vm {} tells who); end that first, or use: umount --lazy {}", path, path, path);
  return sys_error("cannot unmount {}", path);
}

}  // namespace

constinit const Command kUmountCommand = {
    .name = "umount",
    .verb = kUmount,
    .summary = "end what mount has begun",
    .usage = "MOUNTPOINT",
    .description = "Unmounts a checkpoint; the process that served it ends. umount(8) and fusermount3 -u do the same.\n"
                   "A mount that is in use stays, and the exit code is 1.\n",
    .examples = "  faultline umount /mnt\n",
    .images = false,
    .privileged = false,
    .run = run_umount,
};

}  // namespace faultline::cli
