#include "core/cli/pid_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/unique_fd.h"

namespace faultline::cli {

namespace {

Failure exists(const char* option, const std::string& path) { return error(EEXIST, "{}: {} exists already; remove it, or name another", option, path); }

Result<void> write_draft(const char* option, const std::string& draft, int number) {
  UniqueFd fd(::open(draft.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!fd) return sys_error("{}: cannot create {}", option, draft);
  const std::string text = std::to_string(number);
  return write_all(fd.get(), text.data(), text.size(), draft.c_str());
}

}  // namespace

Result<void> check_number_file(const char* option, const std::string& path) {
  struct stat st;
  if (!path.empty() && lstat(path.c_str(), &st) == 0) return exists(option, path);
  return {};
}

Result<void> write_number_file(const char* option, const std::string& path, int number) {
  if (path.empty()) return {};
  const std::string draft = fmt::format("{}.{}", path, getpid());
  Result<void> result = write_draft(option, draft, number);
  // Unlike rename(2), link(2) does not replace what is there.
  if (result && ::link(draft.c_str(), path.c_str()) < 0) {
    if (errno == EEXIST) result = exists(option, path);
    else result = sys_error("{}: cannot create {}", option, path);
  }
  ::unlink(draft.c_str());
  return result;
}

Result<void> check_pid_file(const std::string& path) { return check_number_file("--pidfile", path); }

Result<void> write_pid_file(const std::string& path, pid_t pid) { return write_number_file("--pidfile", path, pid); }

}  // namespace faultline::cli
