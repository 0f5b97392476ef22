#include "lazy/daemon.h"

#include <fcntl.h>
#include <unistd.h>

#include "core/base/log.h"
#include "core/cli/action_scripts.h"
#include "core/cli/commands.h"
#include "core/cli/pid_file.h"
#include "core/cli/prefetch.h"
#include "core/cli/remote.h"

namespace faultline::cli {

namespace {

// Told once the socket is there. One zero byte, as CRIU does.
Result<void> tell_status(int fd) {
  if (fd < 0) return {};
  const char zero = 0;
  TRY(write_all(fd, &zero, 1, "--status-fd"));
  if (::close(fd) < 0) return sys_error("--status-fd: cannot close descriptor {}", fd);
  return {};
}

Result<void> serve(Context& context, ActionScripts& scripts, const std::function<Result<void>()>& ready) {
  const Options& o = context.options;
  const std::unique_ptr<RemoteServer> remote = TRY(remote_server(o));
  const image::Checkpoint checkpoint = TRY(image::Checkpoint::load(*context.images));
  const UniqueFd work_dir(::open(".", O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!work_dir) return sys_error("cannot open the work directory");
  lazy::DaemonOptions daemon;
  daemon.work_dir = work_dir.get();
  if (remote) daemon.remote = &remote->options;
  bool recorded = false;
  for (const image::Task& task : checkpoint.tasks) recorded |= context.images->exists(lazy::working_set_name(task.pid()));
  daemon.pager.prefetch = prefetch_of(o).value_or(recorded ? lazy::Prefetch::kRecorded : lazy::Prefetch::kSequential);
  daemon.pager.working_set_dir = context.images->fd();
  daemon.pager.record = o.record && !recorded;
  daemon.pager.keep_fds = pager_log_descriptors(o);
  daemon.ready = [&]() -> Result<void> {
    TRY(scripts.run("status-ready"));
    TRY(tell_status(o.status_fd));
    return ready();
  };
  return lazy::run_daemon(*context.images, checkpoint, daemon);
}

// The child's part of -d. It never returns.
[[noreturn]] void be_daemon(Context& context, ActionScripts& scripts, UniqueFd parent) {
  setsid();
  auto done = serve(context, scripts, [&]() -> Result<void> {
    TRY(write_pid_file(context.options.pidfile, getpid()));
    const UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
    // Whoever reads our caller's output to its end must not wait for us; a log on these descriptors ends here, as the help says.
    for (int fd = 0; null && fd <= 2; ++fd) dup2(null.get(), fd);
    const char zero = 0;
    TRY(write_all(parent.get(), &zero, 1, "the pipe to the starting process"));
    parent.reset();
    return {};
  });
  if (!done) report(context.options, done.error());
  _exit(done ? 0 : 1);
}

// Returns when the daemon listens. Its own failure before that is in the log already.
Result<int> start_daemon(Context& context, ActionScripts& scripts) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) < 0) return sys_error("cannot make a pipe");
  UniqueFd read_end(ends[0]), write_end(ends[1]);
  const pid_t pid = fork();
  if (pid < 0) return sys_error("cannot fork the daemon");
  if (pid == 0) {
    read_end.reset();
    be_daemon(context, scripts, std::move(write_end));
  }
  write_end.reset();
  char ready = 0;
  ssize_t n;
  while ((n = ::read(read_end.get(), &ready, 1)) < 0 && errno == EINTR) {}
  return n == 1 ? 0 : 1;
}

Result<int> run_lazy_pages(Context& context) {
  const Options& o = context.options;
  TRY(check_pid_file(o.pidfile));
  ActionScripts scripts = TRY(ActionScripts::find(o.action_script, context.start_dir, context.images->fd()));
  if (o.detached) return start_daemon(context, scripts);
  TRY(serve(context, scripts, [&] { return write_pid_file(o.pidfile, getpid()); }));
  return 0;
}

}  // namespace

constinit const Command kLazyPagesCommand = {
    .name = "lazy-pages",
    .verb = kLazyPages,
    .summary = "serve the memory of a restore that is started separately",
    .usage = "[--images-dir DIR] [--daemon] [OPTIONS]",
    .description = "Listens on lazy-pages.socket in the work directory for one \"restore --lazy-pages\" with the same work directory, and\n"
                   "ends when all memory is in place or all processes are gone. Not needed otherwise: a restore that finds no daemon\n"
                   "starts its own. With --daemon, log into a file (-o): standard error is given up once the daemon listens.\n",
    .examples = "  faultline lazy-pages -D images -d -o lazy.log       and then\n"
                "  faultline restore -D images -d --lazy-pages\n"
                "  faultline lazy-pages -D images -d -o lazy.log --page-server --address db1 --port 4567\n",
    .images = true,
    .privileged = true,
    .run = run_lazy_pages,
};

}  // namespace faultline::cli
