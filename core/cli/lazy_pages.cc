#include "lazy/daemon.h"

#include <fcntl.h>
#include <unistd.h>

#include "core/base/log.h"
#include "core/cli/action_scripts.h"
#include "core/cli/background.h"
#include "core/cli/commands.h"
#include "core/cli/observe.h"
#include "core/cli/pid_file.h"
#include "core/cli/prefetch.h"
#include "core/cli/remote.h"

namespace faultline::cli {

namespace {

Result<void> serve(Context& context, ActionScripts& scripts, const std::function<Result<void>()>& ready) {
  const Options& o = context.options;
  const std::unique_ptr<RemoteServer> remote = TRY(remote_server(o));
  if (remote && !context.images->exists(image::kInventoryFile))
    return error(ENOENT, "{} has no inventory.img, and this command fetches only memory from a page server; give the directory with the other images, or let "
                 "\"faultline restore --lazy-pages --page-server\" fetch all that is missing", context.images->name());
  const image::Checkpoint checkpoint = TRY(image::Checkpoint::load(*context.images));
  const UniqueFd work_dir(::open(".", O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!work_dir) return sys_error("cannot open the work directory");
  lazy::DaemonOptions daemon;
  daemon.work_dir = work_dir.get();
  if (remote) daemon.remote = &remote->options;
  bool recorded = false;
  for (const image::Task& task : checkpoint.tasks) recorded |= context.images->exists(image::working_set_name(task.pid()));
  daemon.pager.prefetch = prefetch_of(o).value_or(recorded ? lazy::Prefetch::kRecorded : lazy::Prefetch::kSequential);
  daemon.pager.working_set_dir = context.images->fd();
  daemon.pager.record = o.record && !recorded;
  daemon.pager.keep_fds = pager_log_descriptors(o);
  Observation observation = TRY(observe(LiveKind::kPager, context.images->name(), o));
  daemon.pager.watch = watch_of(observation);
  if (observation.metrics) daemon.pager.keep_fds.push_back(observation.metrics.get());
  daemon.ready = [&]() -> Result<void> {
    TRY(scripts.run("status-ready"));
    TRY(tell_status(o.status_fd));
    return ready();
  };
  return lazy::run_daemon(*context.images, checkpoint, daemon);
}

Result<int> run_lazy_pages(Context& context) {
  const Options& o = context.options;
  TRY(check_pid_file(o.pidfile));
  ActionScripts scripts = TRY(ActionScripts::find(o.action_script, context.start_dir, context.images->fd()));
  if (o.detached)
    return run_in_background(o, [&](const Ready& ready) -> Result<int> {
      TRY(serve(context, scripts, ready));
      return 0;
    });
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
