#include "core/cli/prefetch.h"

#include <unistd.h>

#include "core/base/log.h"

namespace faultline::cli {

std::optional<lazy::Prefetch> prefetch_of(const Options& o) {
  if (o.prefetch == "none") return lazy::Prefetch::kNone;
  if (o.prefetch == "sequential") return lazy::Prefetch::kSequential;
  if (o.prefetch == "recorded") return lazy::Prefetch::kRecorded;
  return std::nullopt;
}

std::vector<int> pager_log_descriptors(const Options& o) {
  // A pager that held the caller's standard error would keep a pipe open that somebody reads to its end.
  if (!o.log_file.empty() && o.log_file != "-") return {log::descriptor()};
  if (o.log_file.empty() && isatty(STDERR_FILENO)) return {STDERR_FILENO};
  return {};
}

}  // namespace faultline::cli
