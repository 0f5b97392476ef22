#include "core/cli/pid_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/unique_fd.h"

namespace faultline::cli {

namespace {

Failure exists(const std::string& path) { return error(EEXIST, "--pidfile: {} exists already; remove it, or name another", path); }

Result<void> write_draft(const std::string& draft, pid_t pid) {
  UniqueFd fd(::open(draft.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!fd) return sys_error("--pidfile: cannot create {}", draft);
  const std::string text = std::to_string(pid);
  return write_all(fd.get(), text.data(), text.size(), draft.c_str());
}

}  // namespace

Result<void> check_pid_file(const std::string& path) {
  struct stat st;
  if (!path.empty() && lstat(path.c_str(), &st) == 0) return exists(path);
  return {};
}

Result<void> write_pid_file(const std::string& path, pid_t pid) {
  if (path.empty()) return {};
  const std::string draft = fmt::format("{}.{}", path, getpid());
  Result<void> result = write_draft(draft, pid);
  // Unlike rename(2), link(2) does not replace what is there.
  if (result && ::link(draft.c_str(), path.c_str()) < 0) {
    if (errno == EEXIST) result = exists(path);
    else result = sys_error("--pidfile: cannot create {}", path);
  }
  ::unlink(draft.c_str());
  return result;
}

}  // namespace faultline::cli
