#include "core/dump/live.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "core/base/progress.h"
#include "core/cli/action_scripts.h"
#include "core/cli/background.h"
#include "core/cli/commands.h"
#include "core/cli/front.h"
#include "core/cli/json_text.h"
#include "core/cli/observe.h"
#include "core/cli/option_table.h"
#include "core/cli/page_server_link.h"
#include "core/cli/pid_file.h"
#include "core/cli/stats.h"
#include "pageserver/metrics.h"

namespace faultline::cli {

namespace {

// The options that change what is saved, or how.
std::vector<std::string> telling_options(const Options& o) {
  std::vector<std::string> words;
  for (const Spec& spec : option_table()) {
    const bool telling = spec.group == Group::kObjects || spec.group == Group::kCgroups || spec.group == Group::kMemory ||
                         spec.short_name == 's' || spec.short_name == 'R';
    if (!(spec.verbs & kDump) || !telling || is_default(spec, o)) continue;
    std::string word = std::string("--") + spec.name;
    if (const auto* text = std::get_if<std::string Options::*>(&spec.member)) word += "=" + o.**text;
    else if (const auto* number = std::get_if<int Options::*>(&spec.member)) word += fmt::format("={}", o.**number);
    else if (const auto* size = std::get_if<uint64_t Options::*>(&spec.member)) word += fmt::format("={}", o.**size);
    else if (const auto* flag = std::get_if<bool Options::*>(&spec.member); flag && !(o.**flag)) word.insert(2, "no-");
    words.push_back(std::move(word));
  }
  return words;
}

dump::Settings settings_of(const Options& o) {
  dump::Settings settings;
  settings.pid = o.tree;
  if (o.leave_stopped) settings.afterwards = dump::Afterwards::kStop;
  else if (o.leave_running) settings.afterwards = dump::Afterwards::kRun;
  settings.files.shell_job = o.shell_job;
  settings.files.ghost_limit = o.ghost_limit;
  settings.files.evasive_devices = o.evasive_devices;
  // A program that is handed over is lost with this machine anyway, whatever is on its disks.
  settings.sync = o.sync && !o.lazy_pages;
  settings.timeout = std::chrono::seconds(o.timeout);
  settings.origin = {.tool = "faultline " FAULTLINE_VERSION, .options = telling_options(o)};
  return settings;
}

// Memory that does not go into files here.
struct Elsewhere {
  // Everything that can fail, before anything is stopped: a server that is not there must not cost the processes any time.
  Result<void> prepare(const Options& o, ActionScripts& scripts, int stop);
  dump::PageServer page_server() const { return {.stream = server.get(), .inherited = inherited, .stop = live.stop}; }

  std::unique_ptr<pageserver::TlsContext> tls;
  std::unique_ptr<pageserver::Stream> server;  // to which it is sent
  bool inherited = false;
  dump::LiveSettings live;                     // how it is offered
  std::optional<Observation> observation;      // for those who watch that
  std::unique_ptr<pageserver::MetricsServer> metrics;
};

Result<void> tell_ready(const Options& o, ActionScripts& scripts, const std::string& address) {
  const int port = atoi(address.c_str() + address.rfind(':') + 1);
  TRY(write_number_file("--portfile", o.portfile, port));
  if (o.json) printf("{\"command\": \"dump\", \"address\": %s, \"port\": %d}\n", json_string(address).c_str(), port);
  fflush(stdout);
  TRY(scripts.run("status-ready"));
  return tell_status(o.status_fd);
}

Result<void> Elsewhere::prepare(const Options& o, ActionScripts& scripts, int stop) {
  tls = TRY(tls_context(o));
  inherited = o.ps_socket >= 0;
  live.stop = stop;
  if (o.page_server) server = TRY(connect_page_server(o, tls.get()));
  if (!o.lazy_pages) return {};
  TRY(check_network(o.address, o));
  TRY(check_number_file("--portfile", o.portfile));
  live.address = o.address;
  live.port = static_cast<uint16_t>(o.port);
  live.page_timeout = std::chrono::seconds(o.page_timeout);
  if (o.leave_stopped) live.afterwards = dump::Afterwards::kStop;
  observation = TRY(observe(LiveKind::kServer, fmt::format("{} (process {})", o.images_dir, o.tree), o));
  live.counters = &observation->live.server();
  if (tls)
    live.make_stream = [this, client = wanted_client(o)](UniqueFd socket) {
      return pageserver::tls_stream(std::move(socket), *tls, pageserver::TlsRole::kServer, client);
    };
  live.ready = [this, &o, &scripts](const std::string& address) -> Result<void> {
    if (observation->metrics) metrics = TRY(pageserver::MetricsServer::start(std::move(observation->metrics), observation->live.page()));
    return tell_ready(o, scripts, address);
  };
  return {};
}

// In a process of its own: a thread that was just stopped may be in a call that fails by that (core/dump/freeze.cc), and only who is still
// there can put it right.
Result<int> work(Context& context, const StopRequest& stop) {
  const Options& o = context.options;
  ActionScripts scripts = TRY(ActionScripts::find(o.action_script, context.start_dir, context.images->fd()));
  scripts.set_init_pid(o.tree);
  scripts.run_behind(stop);
  TRY(scripts.run("pre-dump"));

  ProgressBar bar("dump", shows_progress(o));
  bool script_failed = false;
  dump::Hooks hooks;
  hooks.go_on = [&]() -> Result<void> {
    auto go_on = stop.go_on();
    if (go_on) return go_on;
    return error(go_on.error().code, "{}; the processes run on as before, and there is no checkpoint", go_on.error().what);
  };
  hooks.total = [&](uint64_t bytes) { bar.total(bytes); };
  hooks.written = [&](uint64_t bytes) { bar.advance(bytes); };
  hooks.post_dump = [&]() -> Result<void> {
    bar.finish();
    auto done = scripts.run("post-dump");
    TRY(hooks.go_on());  // who ends the command ends its scripts too, perhaps
    script_failed = !done;
    return done;
  };
  dump::Settings settings = settings_of(o);
  Elsewhere elsewhere;
  TRY(elsewhere.prepare(o, scripts, stop.fd()));
  settings.page_server = elsewhere.page_server();
  if (o.lazy_pages) hooks.serve = [&](dump::FrozenTree& tree) { return dump::serve_live(*context.images, tree, elsewhere.live); };
  auto done = dump::run(*context.images, settings, hooks);
  bar.finish();
  if (elsewhere.observation) elsewhere.observation->live.retire();
  if (!done && script_failed) {
    // The script's own exit code is what the caller is told.
    report(o, done.error());
    return scripts.exit_code();
  }
  if (!done) return Failure(done.error());

  image::StatsEntry stats;
  stats.dump = *done;
  write_stats(stats);
  if (o.display_stats && !o.json) fputs(stats_text(stats).c_str(), stdout);
  if (o.json) printf("{\"command\": \"dump\", \"success\": true, \"pid\": %d, \"stats\": %s}\n", o.tree, stats_json(stats).c_str());
  return 0;
}

Result<int> run_dump(Context& context) {
  const Options& o = context.options;
  const pid_t front = ::getpid();
  auto done = behind_front([&](const StopRequest& stop) { return work(context, stop); });
  if (done || !o.lazy_pages || ::getpid() != front || done.error().code != ECHILD) return done;
  return error(ECHILD, "{}. The processes run on as before, unless a restore had taken them over: then they are stopped, as a copy of the program may run elsewhere. "
               "If it does, end them: kill -KILL {}. Only if it surely does not, let them go on: kill -CONT {} (and each of its children)", done.error().what, o.tree, o.tree);
}

}  // namespace

constinit const Command kDumpCommand = {
    .name = "dump",
    .verb = kDump,
    .summary = "write the checkpoint of a running process tree",
    .usage = "--tree PID [--images-dir DIR] [OPTIONS]",
    .description = "Stops the processes, writes their state and memory into the images directory, and then kills them (default), lets them\n"
                   "run on (-R) or leaves them stopped (-s). They are killed only once the checkpoint is complete on stable storage. If\n"
                   "anything fails, or the command is interrupted or killed, they run on as before, and no inventory is left in the\n"
                   "directory. What cannot be saved is refused by name before anything was changed.\n"
                   "With --lazy-pages, memory stays in the frozen processes. A restore --lazy-pages --page-server elsewhere takes the program\n"
                   "over and fetches it; when it has everything, the processes here are killed (or left stopped, -s). Until it takes over,\n"
                   "they can be let go by SIGINT or SIGTERM; after that, these ask for the program back.\n",
    .examples = "  faultline dump -t 4711 -D images                    checkpoint and kill\n"
                "  faultline dump -t 4711 -D images -R                 ... and let it run on\n"
                "  faultline dump -t 4711 -D images -j                 a program that was started from a shell\n"
                "  faultline dump -t 4711 -D images --page-server --port 9999    memory goes to a page server on this machine\n"
                "  faultline dump -t 4711 -D images --lazy-pages --port 9999    offers the program, frozen, to a restore elsewhere\n"
                "  faultline dump -t 4711 -D images -o dump.log -v4    with a detailed log in images/dump.log\n",
    .images = true,
    .privileged = true,
    .run = run_dump,
};

}  // namespace faultline::cli
