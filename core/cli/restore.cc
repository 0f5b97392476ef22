#include "core/restore/restore.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>

#include "core/base/log.h"
#include "core/base/progress.h"
#include "core/cli/action_scripts.h"
#include "core/cli/commands.h"
#include "core/cli/keeper.h"
#include "core/cli/observe.h"
#include "core/cli/pid_file.h"
#include "core/cli/prefetch.h"
#include "core/cli/remote.h"
#include "core/cli/stats.h"

namespace faultline::cli {

namespace {

// `work_dir`: where a lazy-pages daemon may listen, or -1.
restore::Settings settings_of(const Options& o, int work_dir, RemoteServer* remote, Observation* observation) {
  restore::Settings settings;
  settings.work_dir = work_dir;
  if (remote) settings.remote = &remote->options;
  settings.files.shell_job = o.shell_job;
  settings.files.validate_mode = !o.skip_file_rwx_check;
  settings.lazy = o.lazy_pages;
  settings.prefetch = prefetch_of(o);
  settings.record = o.record;
  settings.sibling = o.restore_sibling;
  settings.new_pidns = o.new_pidns;
  settings.leave_stopped = o.leave_stopped;
  settings.keep_fds = pager_log_descriptors(o);
  if (observation) {
    settings.watch = watch_of(*observation);
    if (observation->metrics) settings.keep_fds.push_back(observation->metrics.get());
  }
  return settings;
}

// Until the root has ended. Orphans of the tree come to us as well, and are reaped on the way.
Result<void> wait_for_root(pid_t root) {
  for (;;) {
    int status = 0;
    const pid_t pid = waitpid(-1, &status, 0);
    if (pid == root) {
      if (WIFSIGNALED(status)) LOG_INFO("pid {} was killed by signal {}", root, WTERMSIG(status));
      else LOG_INFO("pid {} ended with exit code {}", root, WEXITSTATUS(status));
      return {};
    }
    if (pid < 0 && errno != EINTR) return sys_error("cannot wait for the restored process {}", root);
  }
}

// Replaces this program by the words behind --exec-cmd; returns only on failure.
Failure execute(const std::vector<std::string>& words) {
  std::vector<char*> argv;
  for (const std::string& word : words) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  // What was changed for our own work only.
  signal(SIGPIPE, SIG_DFL);
  prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0);
  execvp(argv[0], argv.data());
  return sys_error("the processes are restored, but --exec-cmd cannot execute {}", words.front());
}

void print_results(const Options& o, const restore::Restored& restored) {
  image::StatsEntry stats;
  stats.restore = restored.stats;
  write_stats(stats);
  if (o.display_stats && !o.json) fputs(stats_text(stats).c_str(), stdout);
  if (o.json)
    printf("{\"command\": \"restore\", \"success\": true, \"pid\": %d, \"pager\": %s, \"stats\": %s}\n", restored.root,
           restored.pager ? std::to_string(*restored.pager).c_str() : "null", stats_json(stats).c_str());
  fflush(stdout);
}

// `keeper`: of a restore that may need one.
Result<int> restore_with(Context& context, Keeper* keeper) {
  const Options& o = context.options;
  const std::unique_ptr<RemoteServer> remote = TRY(remote_server(o));
  if (remote) TRY(fetch_images(*remote, *context.images));
  if (o.dry_run) {
    fputs(TRY(restore::describe(*context.images, settings_of(o, -1, nullptr, nullptr))).c_str(), stdout);
    return 0;
  }
  TRY(check_pid_file(o.pidfile));
  ActionScripts scripts = TRY(ActionScripts::find(o.action_script, context.start_dir, context.images->fd()));
  TRY(scripts.run("pre-restore"));

  ProgressBar bar("restore", shows_progress(o));
  restore::Hooks hooks;
  hooks.progress = [&, before = uint64_t{0}](uint64_t done, uint64_t all) mutable {
    if (before == 0) bar.total(all * kPageSize);
    bar.advance((done - before) * kPageSize);
    before = done;
  };
  hooks.post_restore = [&](pid_t root) -> Result<void> {
    bar.finish();
    scripts.set_init_pid(root);
    TRY(scripts.run("post-restore"));
    TRY(write_pid_file(o.pidfile, root));
    scripts.run_and_log("network-unlock");
    scripts.run_and_log("pre-resume");
    return {};
  };
  hooks.resumed = [&] { scripts.run_and_log("post-resume"); };

  std::optional<Observation> observation;
  if (o.lazy_pages) observation = TRY(observe(LiveKind::kPager, context.images->name(), o));
  const UniqueFd work_dir(::open(".", O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!work_dir) return sys_error("cannot open the work directory");
  restore::Settings settings = settings_of(o, work_dir.get(), remote.get(), observation ? &*observation : nullptr);
  settings.stays = keeper || (!o.detached && !o.exec_cmd);
  if (keeper) settings.keep_fds.push_back(keeper->held_by_pager());
  const restore::Restored restored = TRY(restore::run(*context.images, settings, hooks));
  print_results(o, restored);
  if (keeper && remote->options.live && restored.pager) TRY(keeper->stay(restored.root));
  if (o.exec_cmd) return execute(o.words);
  if (!o.detached) TRY(wait_for_root(restored.ends_with));
  return 0;
}

Result<int> run_restore(Context& context) {
  const Options& o = context.options;
  // Before anything is connected, so that nobody else has a hand in the connection. A source that is not live needs no keeper, which ends at once.
  if (o.detached && o.page_server && o.lazy_pages && !o.new_pidns && !o.restore_sibling && !o.exec_cmd && !o.dry_run)
    return with_keeper([&](Keeper& keeper) { return restore_with(context, &keeper); });
  return restore_with(context, nullptr);
}

}  // namespace

constinit const Command kRestoreCommand = {
    .name = "restore",
    .verb = kRestore,
    .summary = "make the processes of a checkpoint again",
    .usage = "[--images-dir DIR] [--restore-detached] [--lazy-pages] [OPTIONS]",
    .description = "Makes the process tree again, with the same pids, memory and open files, and lets it run on where it was stopped.\n"
                   "With --lazy-pages it runs at once, and its memory follows: what is touched first, the rest in the background.\n"
                   "What can be refused is refused before the first process is made; after a failure none is left.\n",
    .examples = "  faultline restore -D images                            and wait until the root ends\n"
                "  faultline restore -D images -d --pidfile root.pid      and go; the root's pid is in images/root.pid\n"
                "  faultline restore -D images -d --lazy-pages            at once, memory follows\n"
                "  faultline restore -D images -d --new-pidns             although the old pids are taken\n"
                "  faultline restore -D images --dry-run                  only print the plan\n"
                "  faultline restore -D empty -d --lazy-pages --page-server --address db1 --port 4567 --checkpoint web\n"
                "                                                         from another machine\n",
    .images = true,
    .privileged = true,
    .run = run_restore,
};

}  // namespace faultline::cli
