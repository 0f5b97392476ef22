#pragma once

#include <string>

#include "core/image/messages.h"

namespace faultline::cli {

// Writes stats-dump or stats-restore (whichever part is set) into the current directory, which is the work directory.
// A failure is logged as a warning only: the work itself is done.
void write_stats(const image::StatsEntry& stats);

// For --display-stats, and for --json: the same figures, times in microseconds.
std::string stats_text(const image::StatsEntry& stats);
std::string stats_json(const image::StatsEntry& stats);

}  // namespace faultline::cli
