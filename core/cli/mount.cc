#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <cstdlib>

#include "browse/fuse/server.h"
#include "browse/fuse/watcher.h"
#include "core/base/log.h"
#include "core/cli/background.h"
#include "core/cli/checkpoint_source.h"
#include "core/cli/commands.h"
#include "core/cli/pid_file.h"

namespace faultline::cli {

namespace {

// How long answers that are under way may take once it is over.
constexpr std::chrono::seconds kEndTime(5);

Result<std::string> mountpoint_of(const std::string& path) {
  char real[PATH_MAX];
  struct stat st;
  struct statfs fs;
  // Of a dead mount the kernel may still know attributes; statfs() asks its server.
  const bool there = ::realpath(path.c_str(), real) && ::stat(real, &st) == 0 && ::statfs(real, &fs) == 0;
  if (!there && errno == ENOTCONN)
    return error(ENOTCONN, "{}: a file system whose server is gone is still mounted here; take it away with: faultline umount {}", path, path);
  if (!there) return sys_error("{}: nothing can be mounted here", path);
  if (!S_ISDIR(st.st_mode)) return error(ENOTDIR, "{}: a checkpoint is mounted on a directory, and this is none", path);
  return std::string(real);
}

class Mount {
 public:
  Mount(const Options& options, std::string mountpoint) : options_(options), mountpoint_(std::move(mountpoint)) {}

  Result<int> run(const Ready& ready);

 private:
  Result<void> block_signals();
  Result<int> wait(browse::Server& server);
  // What ends the program; 0: nothing that does.
  int signal_received();

  const Options& options_;
  const std::string mountpoint_;
  UniqueFd signals_;
  std::optional<browse::Watcher> watcher_;
};

Result<void> Mount::block_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&set, signal);
  if (sigprocmask(SIG_BLOCK, &set, nullptr) < 0) return sys_error("cannot block signals");
  signals_ = UniqueFd(signalfd(-1, &set, SFD_CLOEXEC));
  if (!signals_) return sys_error("cannot make a descriptor for signals");
  return {};
}

Result<int> Mount::run(const Ready& ready) {
  TRY(block_signals());
  const std::string& where = options_.words[0];
  CheckpointSource source = TRY(checkpoint_source(where, options_));
  const auto snapshot = TRY(browse::Snapshot::open(std::move(source.images)));
  CheckpointSource older;
  std::unique_ptr<browse::Snapshot> against;
  if (!options_.against.empty()) {
    older = TRY(checkpoint_source(options_.against, options_));
    against = TRY(browse::Snapshot::open(std::move(older.images)));
  }
  browse::Tree tree(*snapshot, {
      .uid = ::getuid(), .gid = ::getgid(), .for_all = options_.allow_other, .far = where.find("://") != std::string::npos, .against = against.get()});
  // First who takes the mount away, then the mount.
  watcher_ = TRY(browse::Watcher::start(mountpoint_));
  auto server = TRY(browse::Server::start(tree, {.mountpoint = mountpoint_, .source = where, .allow_other = options_.allow_other}));
  LOG_INFO("mount: {} is shown at {}", where, mountpoint_);
  TRY(tell_status(options_.status_fd));
  TRY(ready());
  if (::chdir("/") != 0) return sys_error("cannot leave the current directory");  // it may want to be unmounted some day
  const int code = TRY(wait(*server));
  // The images of a page server that does not answer may hold a thread.
  if (!server->join(kEndTime)) ::_exit(code);
  return code;
}

int Mount::signal_received() {
  signalfd_siginfo info;
  if (::read(signals_.get(), &info, sizeof info) != sizeof info) return 0;
  return static_cast<int>(info.ssi_signo);
}

Result<int> Mount::wait(browse::Server& server) {
  for (;;) {
    pollfd fds[] = {{signals_.get(), POLLIN, 0}, {server.ended(), POLLIN, 0}, {watcher_->ended(), POLLIN, 0}};
    if (poll(fds, 3, -1) < 0) {
      if (errno == EINTR) continue;
      return sys_error("cannot wait for signals");
    }
    if (fds[1].revents) {
      LOG_INFO("mount: {} was unmounted", mountpoint_);
      return 0;
    }
    if (fds[2].revents) watcher_ = TRY(browse::Watcher::start(mountpoint_));
    const int signal = fds[0].revents ? signal_received() : 0;
    if (signal == 0) continue;
    if (server.unmount()) LOG_INFO("mount: told to end; {} is unmounted", mountpoint_);
    else LOG_WARNING("mount: told to end; {} was in use, and is unmounted all the same", mountpoint_);
    return signal == SIGINT ? 128 + SIGINT : 0;
  }
}

Result<int> run_mount(Context& context) {
  const Options& o = context.options;
  TRY(log::open(o.log_file, o.verbosity));
  TRY(check_pid_file(o.pidfile));
  Mount mount(o, TRY(mountpoint_of(o.words[1])));
  if (!o.foreground) return run_in_background(o, [&](const Ready& ready) { return mount.run(ready); });
  return mount.run([&] { return write_pid_file(o.pidfile, getpid()); });
}

}  // namespace

constinit const Command kMountCommand = {
    .name = "mount",
    .verb = kMount,
    .summary = "show a checkpoint as files",
    .usage = "DIR|faultline://HOST:PORT/NAME MOUNTPOINT [OPTIONS]",
    .description = "Mounts a checkpoint, read-only: tasks/PID/ holds what /proc/PID showed when it was dumped, \"mem\", \"areas/\" and \"core\" the memory, images/ every\n"
                   "image as JSON, raw/ the images as they are. Nothing is unpacked: it is ready at once, and takes little memory whatever the size.\n"
                   "Goes to the background when the mount is ready; there, only a log file (-o) tells what could not be read. It ends with the mount\n"
                   "(faultline umount, umount(8), fusermount3 -u), or with SIGTERM, SIGINT or SIGHUP, which unmount. Killed, it leaves no mount behind.\n"
                   "Nobody but the mounting user may look, root included, without --allow-other: memory holds secrets. What damaged images do not tell\n"
                   "reads as an input/output error, and the rest is there. The files are described in faultline-mount(1).\n",
    .examples = "  faultline mount images /mnt\n"
                "  grep -r needle /mnt/tasks\n"
                "  gdb -batch -ex 'thread apply all bt' /usr/bin/redis-server /mnt/tasks/4711/core\n"
                "  jq .entries[0].tc.comm /mnt/images/core-4711.json\n"
                "  faultline umount /mnt\n",
    .images = false,
    .privileged = false,
    .run = run_mount,
};

}  // namespace faultline::cli
