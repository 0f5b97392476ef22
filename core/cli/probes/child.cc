#include "core/cli/probes/child.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>

#include "core/base/unique_fd.h"

namespace faultline::cli {

namespace {

constexpr unsigned kChildSeconds = 10;

// What a child tells about its probe, through a pipe: errno (0: all is well), then the sentence.
void tell(int fd, const Result<void>& result) {
  const int code = result ? 0 : (result.error().code ? result.error().code : EIO);
  const std::string what = result ? "" : result.error().what;
  std::string bytes(reinterpret_cast<const char*>(&code), sizeof code);
  bytes += what;
  (void)!::write(fd, bytes.data(), bytes.size());
}

Result<void> hear(int fd) {
  std::string bytes;
  char buffer[4096];
  for (;;) {
    const ssize_t n = ::read(fd, buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return sys_error("cannot read what the probe's child found");
    if (n == 0) break;
    bytes.append(buffer, static_cast<size_t>(n));
  }
  int code = 0;
  if (bytes.size() < sizeof code) return error(EIO, "the probe's child ended without an answer");
  memcpy(&code, bytes.data(), sizeof code);
  if (code == 0) return {};
  return Failure(Error{code, bytes.substr(sizeof code)});
}

void die_with_parent(pid_t parent) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(1);
}

Result<void> enter_namespaces(int flags) {
  if (flags == 0) return {};
  if (unshare(flags) < 0) return sys_error("cannot make new namespaces to try it in");
  if ((flags & CLONE_NEWNS) && mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) < 0) return sys_error("cannot make the mounts private");
  return {};
}

Result<void> run_probe(int namespaces, const std::function<Result<void>()>& probe) {
  TRY(enter_namespaces(namespaces));
  return probe();
}

int reap(pid_t pid) {
  int status = 0;
  while (waitpid(pid, &status, __WALL) < 0 && errno == EINTR) {}
  return status;
}

struct Pipe {
  UniqueFd read, write;
  static Result<Pipe> make() {
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) < 0) return sys_error("cannot make a pipe");
    return Pipe{UniqueFd(fds[0]), UniqueFd(fds[1])};
  }
};

}  // namespace

Result<void> in_child(int namespaces, const std::function<Result<void>()>& probe) {
  Pipe pipe = TRY(Pipe::make());
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid < 0) return sys_error("cannot fork a child to try it in");
  if (pid == 0) {
    die_with_parent(parent);
    alarm(kChildSeconds);
    pipe.read.reset();
    tell(pipe.write.get(), run_probe(namespaces, probe));
    _exit(0);
  }
  pipe.write.reset();
  auto result = hear(pipe.read.get());
  const int status = reap(pid);
  if (WIFSIGNALED(status)) return error(EIO, "the probe's child was killed by signal {}", WTERMSIG(status));
  return result;
}

Result<Sleeper> Sleeper::make(const std::function<Result<void>()>& prepare) {
  Pipe pipe = TRY(Pipe::make());
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid < 0) return sys_error("cannot fork a child to examine");
  if (pid == 0) {
    die_with_parent(parent);
    pipe.read.reset();
    tell(pipe.write.get(), prepare ? prepare() : Result<void>());
    pipe.write.reset();
    for (;;) pause();
  }
  Sleeper sleeper(pid);
  pipe.write.reset();
  TRY(hear(pipe.read.get()));
  return sleeper;
}

Sleeper::~Sleeper() {
  if (pid_ == 0) return;
  kill(pid_, SIGKILL);
  reap(pid_);
}

Result<void> Sleeper::seize(unsigned long ptrace_options) const {
  if (ptrace(PTRACE_SEIZE, pid_, nullptr, reinterpret_cast<void*>(ptrace_options)) < 0) return sys_error("PTRACE_SEIZE of a child");
  if (ptrace(PTRACE_INTERRUPT, pid_, nullptr, nullptr) < 0) return sys_error("PTRACE_INTERRUPT of a child");
  int status = 0;
  while (waitpid(pid_, &status, __WALL) < 0)
    if (errno != EINTR) return sys_error("cannot wait for a traced child");
  if (!WIFSTOPPED(status)) return error(ESRCH, "a traced child ended instead of stopping");
  return {};
}

}  // namespace faultline::cli
