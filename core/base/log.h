#pragma once

#include <fmt/format.h>

#include <string>
#include <string_view>
#include <utility>

#include "core/base/result.h"

namespace faultline::log {

// The levels of CRIU's --verbosity (formats/cli-and-rpc.md, section 3.1). A message is written if its level is at most the verbosity.
enum class Level { kSilent = 0, kError = 1, kWarning = 2, kInfo = 3, kDebug = 4 };

// Where messages go from now on: a file (mode 0600, truncated), "-" for standard output, or standard error if `path` is empty.
// From verbosity 3 on each line begins with "(seconds.microseconds) " since start. Error lines contain "Error (", warnings "Warn  (".
// Call before threads are started. Errors: those of open(2).
Result<void> open(const std::string& path, int verbosity);

// Opens the file again, without cutting it: somebody has renamed it, and wants a new one. Nothing if the log is no file.
// Any thread. Errors: those of open(2); then messages go where they went.
Result<void> reopen();

// Where messages go: for who must keep this descriptor open in another process. It stays the log's.
int descriptor();

bool enabled(Level level);
void write(Level level, const char* file, int line, std::string_view message);

// The first error that was logged, for RPC's cr_errmsg; empty if there was none.
std::string first_error();

#define FL_LOG(level, ...)                                                                  \
  do {                                                                                      \
    if (::faultline::log::enabled(level)) ::faultline::log::write(level, __FILE__, __LINE__, ::fmt::format(__VA_ARGS__)); \
  } while (0)

#define LOG_ERROR(...) FL_LOG(::faultline::log::Level::kError, __VA_ARGS__)
#define LOG_WARNING(...) FL_LOG(::faultline::log::Level::kWarning, __VA_ARGS__)
#define LOG_INFO(...) FL_LOG(::faultline::log::Level::kInfo, __VA_ARGS__)
#define LOG_DEBUG(...) FL_LOG(::faultline::log::Level::kDebug, __VA_ARGS__)

}  // namespace faultline::log
