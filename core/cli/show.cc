#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

#include "browse/heat.h"
#include "browse/summary.h"
#include "core/base/log.h"
#include "core/base/progress.h"
#include "core/cli/checkpoint_source.h"
#include "core/cli/commands.h"

namespace faultline::cli {

namespace {

using browse::Snapshot;

Result<void> put(const std::string& text) { return write_all(STDOUT_FILENO, text.data(), text.size(), "standard output"); }

// Columns of the terminal; wide enough for most names where there is none.
unsigned width_of_output() {
  winsize size = {};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col) return size.ws_col;
  return 100;
}

// As the environment says (locale(7)). A static program may not have the locale itself.
bool writes_utf8() {
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    const char* value = ::getenv(name);
    if (value && *value) return ::strcasestr(value, "utf-8") || ::strcasestr(value, "utf8");
  }
  return false;
}

// What was recorded of all processes. Errors: ENOENT if nothing was; what cannot be read of one of several is noted.
Result<std::vector<browse::Heat>> heats_of(Snapshot& snapshot) {
  std::vector<browse::Heat> heats;
  std::optional<Error> failure;
  for (const uint32_t pid : browse::recorded_processes(snapshot)) {
    auto heat = browse::heat_of(snapshot, pid);
    if (heat) {
      heats.push_back(std::move(*heat));
      continue;
    }
    snapshot.note(heat.error());
    if (!failure) failure = heat.error();
  }
  if (!heats.empty()) return heats;
  if (failure) return Failure(*failure);
  return error(ENOENT, "{}: nothing is recorded; a restore with --lazy-pages records which pages are touched first, into the images directory", snapshot.name());
}

Result<void> write_page(const std::string& file, const std::string& page) {
  if (file == "-") return put(page);
  const UniqueFd to(::open(file.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!to) return sys_error("--html: cannot create {}", file);
  return write_all(to.get(), page.data(), page.size(), file.c_str());
}

Result<void> show_heat(Snapshot& snapshot, const Options& o) {
  const std::vector<browse::Heat> heats = TRY(heats_of(snapshot));
  if (!o.html.empty()) return write_page(o.html, browse::heat_html(heats, snapshot.name()));
  if (o.json) return put(browse::heat_json(heats) + '\n');
  std::string text;
  for (const browse::Heat& heat : heats) text += (text.empty() ? "" : "\n") + browse::heat_text(heat, width_of_output(), writes_utf8());
  return put(text);
}

Result<void> show_summary(Snapshot& snapshot, const Options& o) {
  ProgressBar bar("reading", shows_progress(o));
  const browse::Progress progress = {.total = [&](uint64_t bytes) { bar.total(bytes); }, .done = [&](uint64_t bytes) { bar.advance(bytes); }};
  const browse::Summary summary = browse::summarize(snapshot, progress);
  bar.finish();
  return put(o.json ? browse::summary_json(summary) : browse::summary_text(summary, width_of_output(), writes_utf8()));
}

Result<int> run_show(Context& context) {
  const Options& o = context.options;
  CheckpointSource source = TRY(checkpoint_source(o.words.front(), o));
  const auto snapshot = TRY(Snapshot::open(std::move(source.images)));
  if (o.heat || !o.html.empty()) TRY(show_heat(*snapshot, o));
  else TRY(show_summary(*snapshot, o));
  return 0;
}

}  // namespace

constinit const Command kShowCommand = {
    .name = "show",
    .verb = kShow,
    .summary = "tell what is in a checkpoint, and what of it was touched first",
    .usage = "DIR | faultline://HOST:PORT[/NAME] [--json] [--heat [--html FILE]]",
    .description = "Shows where and when a checkpoint was made, its processes with their threads, descriptors and memory, what the memory is made of, and\n"
                   "the largest areas. Works on checkpoints that are damaged or not complete, and tells what is damaged.\n"
                   "With --heat: which pages a lazy restore was asked for first, in which order, and where in memory they are (from the recording that\n"
                   "restore --lazy-pages leaves beside the images); as a picture in the terminal, or as a page for a browser.\n",
    .examples = "  faultline show images\n"
                "  faultline show faultline://db1:4567/web --tls\n"
                "  faultline show images --json | jq .memory\n"
                "  faultline show images --heat --html heat.html\n",
    .images = false,
    .privileged = false,
    .run = run_show,
};

}  // namespace faultline::cli
