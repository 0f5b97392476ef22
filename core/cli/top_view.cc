#include "core/cli/top_view.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/base/progress.h"
#include "core/cli/json_text.h"

namespace faultline::cli {

namespace {

constexpr unsigned kBarWidth = 20;
constexpr const char* kRed = "31";
constexpr const char* kGreen = "32";
constexpr const char* kBold = "1";

std::string coloured(const std::string& text, const char* code, bool colour) { return colour ? fmt::format("\x1b[{}m{}\x1b[0m", code, text) : text; }

double rate(uint64_t before, uint64_t now, double seconds) {
  return seconds > 0 && now > before ? static_cast<double>(now - before) / seconds : 0;
}

std::string speed(double bytes, bool known) { return known ? human_size(static_cast<uint64_t>(bytes)) + "/s" : "-"; }
std::string number(double value, bool known) { return known ? fmt::format("{:.0f}", value) : "-"; }

// "850 us", "1.5 ms", "2.0 s".
std::string time_text(double us) {
  if (us < 1000) return fmt::format("{:.0f} us", us);
  if (us < 1e6) return fmt::format("{:.1f} ms", us / 1e3);
  return fmt::format("{:.1f} s", us / 1e6);
}

double part_of(const TopSample& s) {
  return s.pages_total ? std::min(1.0, static_cast<double>(s.pages_present) / static_cast<double>(s.pages_total)) : 0;
}

std::string fill_bar(double part) {
  const auto filled = static_cast<size_t>(part * kBarWidth);
  return fmt::format("[{}{}] {:3.0f}%", std::string(filled, '#'), std::string(kBarWidth - filled, '.'), part * 100);
}

// The end of a path tells more than its beginning. Bytes that would move the cursor are not shown.
std::string shown_name(const std::string& name, size_t width) {
  std::string text = name.size() > width ? "~" + name.substr(name.size() - width + 1) : name;
  std::ranges::replace_if(text, [](unsigned char c) { return c < 0x20 || c == 0x7f; }, '?');
  return text;
}

const char* colour_of(PagerState state) {
  if (state == PagerState::kComplete) return kGreen;
  return state == PagerState::kFailed || state == PagerState::kSourceLost ? kRed : "0";
}

std::string pager_line(const TopRow& r, unsigned width, bool colour) {
  const TopSample& s = r.now;
  const std::string before = fmt::format("{:>7} {:<16} ", s.pid, shown_name(s.name, 16)), state = fmt::format("{:<11} ", name_of(s.state));
  std::string rest = fmt::format("{} {:>10} {:>8} {:>12} {:>12} {:>8} {:>8} {:>7} {:>6}", fill_bar(part_of(s)), human_size(s.pages_total * kPageSize),
                                 number(r.faults, r.has_rates), speed(r.demand, r.has_rates), speed(r.bulk, r.has_rates), time_text(r.p50),
                                 time_text(r.p99), s.pages_missing, s.reconnects);
  const size_t used = before.size() + state.size();
  if (width <= used) return (before + state).substr(0, width) + "\n";
  if (rest.size() > width - used) rest.resize(width - used);
  return before + coloured(state, colour_of(s.state), colour) + rest + "\n";
}

std::string server_line(const TopRow& r, unsigned width) {
  const TopSample& s = r.now;
  std::string text = fmt::format("{:>7} {:<40} {:>7} {:>8} {:>12} {:>12} {:>12} {:>6} {:>10} {:>6}", s.pid, shown_name(s.name, 40), s.clients,
                                 number(r.requests, r.has_rates), speed(r.demand, r.has_rates), speed(r.bulk, r.has_rates),
                                 speed(r.sent, r.has_rates), s.queued, human_size(s.buffer_bytes), s.errors);
  if (text.size() > width) text.resize(width);
  return text + "\n";
}

std::string title(std::string text, unsigned width, bool colour) {
  if (text.size() > width) text.resize(width);
  return coloured(text, kBold, colour) + "\n";
}

std::string json_rates(const TopRow& r) {
  if (!r.has_rates) return "null";
  return fmt::format(R"({{"faults": {:.1f}, "requests": {:.1f}, "bytes_demand": {:.0f}, "bytes_bulk": {:.0f}, "bytes_sent": {:.0f}}})", r.faults, r.requests,
                     r.demand, r.bulk, r.sent);
}

std::string json_row(const TopRow& r) {
  const TopSample& s = r.now;
  std::string text = fmt::format(R"({{"kind": "{}", "pid": {}, "started": {}, "name": {}, "metrics": {}, )", name_of(s.kind), s.pid, s.started,
                                 json_string(s.name), s.metrics.empty() ? "null" : json_string(s.metrics));
  if (s.kind == LiveKind::kPager)
    text += fmt::format(R"("state": "{}", "processes": {}, "pages_present": {}, "pages_total": {}, "faults": {}, "pages_demand": {}, "pages_missing": {}, "reconnects": {}, )",
                        name_of(s.state), s.processes, s.pages_present, s.pages_total, s.faults, s.pages_demand, s.pages_missing, s.reconnects);
  else
    text += fmt::format(R"("clients": {}, "requests": {}, "buffer_bytes": {}, "bytes_sent": {}, "errors": {}, )", s.clients, s.requests, s.buffer_bytes,
                        s.bytes_sent, s.errors);
  return text + fmt::format(R"("bytes_demand": {}, "bytes_bulk": {}, "queued": {}, "p50_us": {:.1f}, "p99_us": {:.1f}, "rates": {}}})", s.bytes_demand,
                            s.bytes_bulk, s.queued, r.p50, r.p99, json_rates(r));
}

void copy_pager(const PagerCounters& c, TopSample& s) {
  s.state = static_cast<PagerState>(get(c.state));
  s.processes = get(c.processes);
  s.pages_present = get(c.pages_present);
  s.pages_total = get(c.pages_total);
  s.faults = get(c.faults);
  s.pages_demand = get(c.pages_demand);
  s.pages_missing = get(c.pages_missing);
  s.reconnects = get(c.reconnects);
  // Pages put in, whether they came over the network or not.
  s.bytes_demand = s.pages_demand * kPageSize;
  s.bytes_bulk = (get(c.pages_bulk) + get(c.pages_recorded)) * kPageSize;
  s.queued = get(c.queued);
  s.latency = LatencyView::of(c.fault);
}

void copy_server(const ServerCounters& c, TopSample& s) {
  s.clients = get(c.sessions);
  s.requests = get(c.requests_demand) + get(c.requests_bulk);
  s.bytes_sent = get(c.bytes_sent);
  s.buffer_bytes = get(c.buffer_bytes);
  s.errors = get(c.broken) + get(c.refused) + get(c.requests_failed);
  s.bytes_demand = get(c.bytes_demand);
  s.bytes_bulk = get(c.bytes_bulk);
  s.queued = get(c.queued);
}

}  // namespace

TopSample sample_of(const LiveView& view) {
  const LivePage& page = view.page();
  TopSample s;
  s.path = view.path();
  s.kind = page.kind;
  s.pid = get(page.pid);
  s.started = page.started;
  s.name = view.name();
  s.metrics = view.metrics();
  if (s.kind == LiveKind::kPager) copy_pager(page.pager, s);
  else copy_server(page.server, s);
  return s;
}

std::vector<TopRow> rows_of(const std::vector<TopSample>& earlier, const std::vector<TopSample>& now, double seconds) {
  std::vector<TopRow> rows;
  for (const TopSample& s : now) {
    TopRow row;
    row.now = s;
    LatencyView latency = s.latency;
    const auto before = std::ranges::find_if(earlier, [&](const TopSample& e) { return e.path == s.path && e.started == s.started; });
    if (before != earlier.end()) {
      row.has_rates = true;
      row.faults = rate(before->faults, s.faults, seconds);
      row.requests = rate(before->requests, s.requests, seconds);
      row.demand = rate(before->bytes_demand, s.bytes_demand, seconds);
      row.bulk = rate(before->bytes_bulk, s.bytes_bulk, seconds);
      row.sent = rate(before->bytes_sent, s.bytes_sent, seconds);
      if (const LatencyView since = s.latency - before->latency; since.total() > 0) latency = since;
    }
    row.p50 = latency.quantile(0.5);
    row.p99 = latency.quantile(0.99);
    rows.push_back(std::move(row));
  }
  return rows;
}

std::string top_text(const std::vector<TopRow>& rows, unsigned width, bool colour) {
  const auto is_pager = [](const TopRow& r) { return r.now.kind == LiveKind::kPager; };
  const auto pagers = std::ranges::count_if(rows, is_pager);
  const auto servers = static_cast<ptrdiff_t>(rows.size()) - pagers;
  std::string text = title(fmt::format("faultline top: {} lazy {}, {} page {}", pagers, pagers == 1 ? "restore" : "restores", servers, servers == 1 ? "server" : "servers"),
                           width, colour);
  if (pagers) {
    text += "\n" + title(fmt::format("{:>7} {:<16} {:<11} {:<27} {:>10} {:>8} {:>12} {:>12} {:>8} {:>8} {:>7} {:>6}", "PID", "RESTORE", "STATE", "PRESENT", "OF", "FAULTS/s",
                                     "DEMAND", "BULK", "p50", "p99", "MISSING", "RECONN"), width, colour);
    for (const TopRow& r : rows)
      if (is_pager(r)) text += pager_line(r, width, colour);
  }
  if (servers) {
    text += "\n" + title(fmt::format("{:>7} {:<40} {:>7} {:>8} {:>12} {:>12} {:>12} {:>6} {:>10} {:>6}", "PID", "PAGE SERVER", "CLIENTS", "REQ/s", "DEMAND", "BULK",
                                     "ON THE WIRE", "QUEUE", "BUFFERS", "ERRORS"), width, colour);
    for (const TopRow& r : rows)
      if (!is_pager(r)) text += server_line(r, width);
  }
  return text;
}

std::string top_json(const std::vector<TopRow>& rows) {
  std::string text;
  for (const TopRow& r : rows) text += (text.empty() ? "" : ", ") + json_row(r);
  return "{\"processes\": [" + text + "]}\n";
}

}  // namespace faultline::cli
