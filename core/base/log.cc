#include "core/base/log.h"

#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <mutex>

#include "core/base/unique_fd.h"

namespace faultline::log {

namespace {

struct Sink {
  std::mutex mutex;
  std::string first_error;  // guarded by mutex
  UniqueFd file;
  std::string path;         // of the file
  int fd = STDERR_FILENO;
  int verbosity = 2;
  timespec start = {};
};

// A log is the one thing that every room writes to; everything else is passed explicitly.
Sink& sink() {
  static Sink* const instance = [] {
    auto* s = new Sink;
    clock_gettime(CLOCK_MONOTONIC, &s->start);
    return s;
  }();
  return *instance;
}

const char* tag(Level level) {
  switch (level) {
    case Level::kError: return "Error (";
    case Level::kWarning: return "Warn  (";
    default: return "";
  }
}

}  // namespace

Result<void> open(const std::string& path, int verbosity) {
  Sink& s = sink();
  s.verbosity = verbosity;
  if (path.empty()) {
    s.fd = STDERR_FILENO;
  } else if (path == "-") {
    s.fd = STDOUT_FILENO;
  } else {
    s.file = UniqueFd(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600));
    if (!s.file) return sys_error("cannot open the log file {}", path);
    s.fd = s.file.get();
    s.path = path;
  }
  return {};
}

Result<void> reopen() {
  Sink& s = sink();
  if (!s.file) return {};
  const UniqueFd fresh(::open(s.path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  if (!fresh) return sys_error("cannot open the log file {} again", s.path);
  // In the place of the old one, whose number others may know.
  if (::dup3(fresh.get(), s.file.get(), O_CLOEXEC) < 0) return sys_error("cannot change the log file");
  return {};
}

int descriptor() { return sink().fd; }

bool enabled(Level level) { return level == Level::kError || static_cast<int>(level) <= sink().verbosity; }

void write(Level level, const char* file, int line, std::string_view message) {
  Sink& s = sink();
  std::lock_guard lock(s.mutex);
  if (level == Level::kError && s.first_error.empty()) s.first_error = message;
  if (static_cast<int>(level) > s.verbosity) return;
  std::string text;
  if (s.verbosity >= 3) {
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    long microseconds = (now.tv_sec - s.start.tv_sec) * 1000000 + (now.tv_nsec - s.start.tv_nsec) / 1000;
    text += fmt::format("({:02}.{:06}) ", microseconds / 1000000, microseconds % 1000000);
  }
  if (level <= Level::kWarning) {
    const char* slash = strrchr(file, '/');
    text += fmt::format("{}{}:{}): ", tag(level), slash ? slash + 1 : file, line);
  }
  text += message;
  text += '\n';
  // One write per line, so that lines of several processes do not mix. A log that cannot be written must not stop the work.
  (void)!::write(s.fd, text.data(), text.size());
}

std::string first_error() {
  std::lock_guard lock(sink().mutex);
  return sink().first_error;
}

}  // namespace faultline::log
