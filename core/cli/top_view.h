#pragma once

#include <string>
#include <vector>

#include "core/base/live.h"

// What `faultline top` shows, apart from the terminal.
namespace faultline::cli {

// One process's counters at one moment.
struct TopSample {
  std::string path;  // tells it from all others
  LiveKind kind = LiveKind::kPager;
  uint64_t pid = 0, started = 0;
  std::string name, metrics;
  // Of a pager.
  PagerState state = PagerState::kStarting;
  uint64_t processes = 0, pages_present = 0, pages_total = 0, faults = 0, pages_demand = 0, pages_missing = 0, reconnects = 0;
  // Of a server.
  uint64_t clients = 0, requests = 0, bytes_sent = 0, buffer_bytes = 0, errors = 0;
  // Of both: page data by class (a pager's include what comes from its own disk), and requests without an answer.
  uint64_t bytes_demand = 0, bytes_bulk = 0, queued = 0;
  LatencyView latency;  // a pager's faults
};

TopSample sample_of(const LiveView& view);

// A sample, and what changed since an earlier one.
struct TopRow {
  TopSample now;
  bool has_rates = false;  // there was an earlier sample; otherwise the rates are 0
  double faults = 0, requests = 0, demand = 0, bulk = 0, sent = 0;  // per second; the last three in bytes
  double p50 = 0, p99 = 0;  // microseconds; since the earlier sample, or, if nothing happened since then or there is none, since the start
};

// `seconds`: between the two. Rows for what is there now, in its order.
std::vector<TopRow> rows_of(const std::vector<TopSample>& earlier, const std::vector<TopSample>& now, double seconds);

// The screen, in lines of at most `width` columns.
std::string top_text(const std::vector<TopRow>& rows, unsigned width, bool colour);
// One line: {"processes": [...]}. Rates are null where there are none.
std::string top_json(const std::vector<TopRow>& rows);

}  // namespace faultline::cli
