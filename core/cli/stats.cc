#include "core/cli/stats.h"

#include <fmt/format.h>

#include <optional>
#include <vector>

#include "core/base/log.h"
#include "core/image/image_dir.h"

namespace faultline::cli {

namespace {

struct Figure {
  const char* name;  // of the image's field
  const char* text;
  uint64_t value;
};

void add(std::vector<Figure>& figures, const char* name, const char* text, std::optional<uint64_t> value) {
  if (value) figures.push_back({name, text, *value});
}

std::vector<Figure> figures_of(const image::StatsEntry& stats) {
  std::vector<Figure> all;
  if (stats.dump) {
    const image::DumpStatsEntry& d = *stats.dump;
    add(all, "freezing_time", "Freezing time, us", d.freezing_time);
    add(all, "frozen_time", "Frozen time, us", d.frozen_time);
    add(all, "memdump_time", "Memory dump time, us", d.memdump_time);
    add(all, "memwrite_time", "Memory write time, us", d.memwrite_time);
    add(all, "pages_scanned", "Memory pages scanned", d.pages_scanned);
    add(all, "pages_skipped_parent", "Memory pages skipped from parent", d.pages_skipped_parent);
    add(all, "pages_written", "Memory pages written", d.pages_written);
    add(all, "pages_lazy", "Lazy memory pages", d.pages_lazy);
    add(all, "shpages_scanned", "Shared memory pages scanned", d.shpages_scanned);
    add(all, "shpages_written", "Shared memory pages written", d.shpages_written);
  }
  if (stats.restore) {
    const image::RestoreStatsEntry& r = *stats.restore;
    add(all, "forking_time", "Forking time, us", r.forking_time);
    add(all, "restore_time", "Restore time, us", r.restore_time);
    add(all, "pages_compared", "Pages compared", r.pages_compared);
    add(all, "pages_skipped_cow", "Pages shared with a parent", r.pages_skipped_cow);
    add(all, "pages_restored", "Pages restored", r.pages_restored);
  }
  return all;
}

Result<void> write_image(const image::StatsEntry& stats) {
  const image::ImageDir here = TRY(image::ImageDir::open("."));
  return image::write_one(here, stats.dump ? "stats-dump" : "stats-restore", image::kStats, stats);
}

}  // namespace

void write_stats(const image::StatsEntry& stats) {
  if (auto written = write_image(stats); !written) LOG_WARNING("no statistics are left in the work directory: {}", written.error().what);
}

std::string stats_text(const image::StatsEntry& stats) {
  std::string text = stats.dump ? "Dump statistics:\n" : "Restore statistics:\n";
  for (const Figure& f : figures_of(stats)) text += fmt::format("  {}: {}\n", f.text, f.value);
  return text;
}

std::string stats_json(const image::StatsEntry& stats) {
  std::string text = "{";
  for (const Figure& f : figures_of(stats)) text += fmt::format("{}\"{}\": {}", text.size() > 1 ? ", " : "", f.name, f.value);
  return text + "}";
}

}  // namespace faultline::cli
