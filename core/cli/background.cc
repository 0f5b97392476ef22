#include "core/cli/background.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/base/unique_fd.h"
#include "core/cli/commands.h"
#include "core/cli/pid_file.h"

namespace faultline::cli {

namespace {

// The child's part. It never returns.
[[noreturn]] void be_service(const Options& options, const std::function<Result<int>(const Ready&)>& service, UniqueFd parent) {
  setsid();
  auto code = service([&]() -> Result<void> {
    TRY(write_pid_file(options.pidfile, getpid()));
    const UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
    // A log on these descriptors ends here, as the help says.
    for (int fd = 0; null && fd <= 2; ++fd) dup2(null.get(), fd);
    const char zero = 0;
    TRY(write_all(parent.get(), &zero, 1, "the pipe to the starting process"));
    parent.reset();
    return {};
  });
  if (!code) report(options, code.error());
  _exit(code ? *code : 1);
}

}  // namespace

Result<void> tell_status(int fd) {
  if (fd < 0) return {};
  const char zero = 0;
  TRY(write_all(fd, &zero, 1, "--status-fd"));
  if (::close(fd) < 0) return sys_error("--status-fd: cannot close descriptor {}", fd);
  return {};
}

Result<int> run_in_background(const Options& options, const std::function<Result<int>(const Ready&)>& service) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) < 0) return sys_error("cannot make a pipe");
  UniqueFd read_end(ends[0]), write_end(ends[1]);
  const pid_t pid = fork();
  if (pid < 0) return sys_error("cannot fork the daemon");
  if (pid == 0) {
    read_end.reset();
    be_service(options, service, std::move(write_end));
  }
  write_end.reset();
  char ready = 0;
  ssize_t n;
  while ((n = ::read(read_end.get(), &ready, 1)) < 0 && errno == EINTR) {}
  return n == 1 ? 0 : 1;
}

}  // namespace faultline::cli
