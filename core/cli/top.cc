#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "core/cli/commands.h"
#include "core/cli/top_view.h"

namespace faultline::cli {

namespace {

// Wide enough for every column, for those who read it from a file.
constexpr unsigned kFileWidth = 160;

volatile sig_atomic_t ended = 0;

double now_seconds() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) / 1e9;
}

Result<void> put(const std::string& text) { return write_all(STDOUT_FILENO, text.data(), text.size(), "standard output"); }

// A terminal while top has it: the second screen, no cursor, keys without Enter and without echo. Given back by whatever way top ends.
class Screen {
 public:
  Screen() : here_(isatty(STDOUT_FILENO)), keys_(here_ && tcgetattr(STDIN_FILENO, &before_) == 0) {
    if (keys_) {
      termios raw = before_;
      raw.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
      tcsetattr(STDIN_FILENO, TCSANOW, &raw);
    }
    if (here_) (void)put("\x1b[?1049h\x1b[?25l");
  }
  ~Screen() {
    if (here_) (void)put("\x1b[?25h\x1b[?1049l");
    if (keys_) tcsetattr(STDIN_FILENO, TCSANOW, &before_);
  }
  Screen(const Screen&) = delete;

  bool here() const { return here_; }
  bool has_keys() const { return keys_; }
  unsigned width() const {
    winsize size = {};
    if (!here_) return kFileWidth;
    return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col ? size.ws_col : 80;
  }

 private:
  const bool here_;
  termios before_ = {};
  const bool keys_;
};

Result<std::vector<TopSample>> look() {
  std::vector<TopSample> samples;
  for (const LiveView& view : TRY(everybody_alive())) samples.push_back(sample_of(view));
  return samples;
}

// For so long, or until a key or a signal tells to end: false. A change of the window's size ends the wait early.
bool wait_for(double seconds, bool keys) {
  const double until = now_seconds() + seconds;
  pollfd input = {.fd = keys ? STDIN_FILENO : -1, .events = POLLIN, .revents = 0};
  while (!ended) {
    const double left = until - now_seconds();
    if (left <= 0) return true;
    const int ready = poll(&input, 1, static_cast<int>(left * 1000) + 1);
    if (ready < 0) return !ended;
    if (ready == 0) continue;
    char key = 'q';  // a terminal that has gone ends it as well
    if (::read(STDIN_FILENO, &key, 1) <= 0 || key == 'q' || key == 'Q') return false;
  }
  return false;
}

void catch_signals() {
  struct sigaction action = {};
  action.sa_handler = [](int) { ended = 1; };
  for (int number : {SIGINT, SIGTERM, SIGHUP}) sigaction(number, &action, nullptr);
  action.sa_handler = [](int) {};  // only to end the wait
  sigaction(SIGWINCH, &action, nullptr);
}

// At once with totals; with --interval, the rates over that time.
Result<int> show_once(const Options& o) {
  std::vector<TopSample> earlier;
  const double start = now_seconds();
  if (o.interval > 0) {
    earlier = TRY(look());
    if (!wait_for(o.interval, false)) return 1;
  }
  const auto samples = TRY(look());
  const auto rows = rows_of(earlier, samples, now_seconds() - start);
  TRY(put(o.json ? top_json(rows) : top_text(rows, kFileWidth, false)));
  return 0;
}

Result<int> run_top(Context& context) {
  const Options& o = context.options;
  catch_signals();
  if (o.once) return show_once(o);
  const double interval = o.interval > 0 ? o.interval : 1;
  std::vector<TopSample> earlier;
  double then = 0;
  std::optional<Screen> screen;
  if (!o.json) screen.emplace();
  const bool on_screen = screen && screen->here(), colour = on_screen && !getenv("NO_COLOR");
  do {
    auto samples = TRY(look());
    const double now = now_seconds();
    const auto rows = rows_of(earlier, samples, now - then);
    if (o.json) TRY(put(top_json(rows)));
    else if (on_screen) TRY(put("\x1b[H\x1b[2J" + top_text(rows, screen->width(), colour) + "\nq: end\n"));
    else TRY(put(top_text(rows, kFileWidth, false) + "\n"));
    earlier = std::move(samples);
    then = now;
  } while (wait_for(interval, screen && screen->has_keys()));
  return 0;
}

}  // namespace

constinit const Command kTopCommand = {
    .name = "top",
    .verb = kTop,
    .summary = "show the lazy restores and page servers of this machine at work",
    .usage = "[--interval SECONDS] [--once] [--json]",
    .description = "Shows, once a second, how much of the memory of each lazy restore is in place, how fast the rest comes, how long programs wait\n"
                   "for pages (p50, p99: half, and 99 of 100 faults, took at most so long), and what each page server sends. Ends on q.\n",
    .examples = "  faultline top\n"
                "  faultline top --once --json | jq '.processes[] | select(.kind == \"pager\")'\n"
                "  faultline top --once --interval 5            the rates over five seconds\n",
    .images = false,
    .privileged = false,
    .run = run_top,
};

}  // namespace faultline::cli
