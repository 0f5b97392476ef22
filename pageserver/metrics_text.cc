#include <fmt/format.h>

#include "pageserver/metrics.h"

namespace faultline::pageserver {

namespace {

// One number of a family: its labels, "class=\"bulk\"", or none.
struct Sample {
  const char* labels;
  const Counter& value;
};

void head(std::string& out, const char* name, const char* type, const char* help) {
  out += fmt::format("# HELP {} {}\n# TYPE {} {}\n", name, help, name, type);
}

void family(std::string& out, const char* name, const char* type, const char* help, std::initializer_list<Sample> samples) {
  head(out, name, type, help);
  for (const Sample& s : samples) out += fmt::format("{}{}{}{} {}\n", name, *s.labels ? "{" : "", s.labels, *s.labels ? "}" : "", get(s.value));
}

void counter(std::string& out, const char* name, const char* help, const Counter& value) { family(out, name, "counter", help, {{"", value}}); }
void gauge(std::string& out, const char* name, const char* help, const Counter& value) { family(out, name, "gauge", help, {{"", value}}); }

void histogram(std::string& out, const char* name, const char* help, const Latency& latency) {
  head(out, name, "histogram", help);
  const LatencyView view = LatencyView::of(latency);
  uint64_t up_to = 0;
  for (size_t i = 0; i < Latency::kBounds.size(); ++i)
    out += fmt::format("{}_bucket{{le=\"{}\"}} {}\n", name, Latency::kBounds[i] / 1e6, up_to += view.classes[i]);
  up_to += view.classes.back();
  out += fmt::format("{}_bucket{{le=\"+Inf\"}} {}\n{}_sum {}\n{}_count {}\n", name, up_to, name, static_cast<double>(get(latency.nanoseconds)) / 1e9, name, up_to);
}

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '\\' || c == '"') out += '\\';
    if (c == '\n') out += "\\n";
    else out += c;
  }
  return out;
}

void pager_text(std::string& out, const PagerCounters& c) {
  head(out, "faultline_pager_state", "gauge", "1 for the state that the pager is in");
  for (const PagerState s : {PagerState::kStarting, PagerState::kServing, PagerState::kSourceLost, PagerState::kComplete, PagerState::kFailed})
    out += fmt::format("faultline_pager_state{{state=\"{}\"}} {}\n", name_of(s), get(c.state) == static_cast<uint64_t>(s) ? 1 : 0);
  gauge(out, "faultline_pager_processes", "Restored processes that live", c.processes);
  gauge(out, "faultline_pager_lazy_pages", "Pages that are to be brought in all", c.pages_total);
  gauge(out, "faultline_pager_present_pages", "Pages that are in place", c.pages_present);
  counter(out, "faultline_pager_faults_total", "Page faults that were served or are waiting", c.faults);
  family(out, "faultline_pager_pages_total", "counter", "Pages put in place, by reason",
         {{"class=\"demand\"", c.pages_demand}, {"class=\"bulk\"", c.pages_bulk}, {"class=\"recorded\"", c.pages_recorded}});
  counter(out, "faultline_pager_zero_pages_total", "Pages put in place that hold only zeros", c.pages_zero);
  counter(out, "faultline_pager_missing_pages_total", "Pages that could not be delivered", c.pages_missing);
  family(out, "faultline_pager_received_bytes_total", "counter", "Bytes from the page server, by class",
         {{"class=\"demand\"", c.bytes_demand}, {"class=\"bulk\"", c.bytes_bulk}});
  gauge(out, "faultline_pager_queued_requests", "Requests to the page server that are not answered yet", c.queued);
  counter(out, "faultline_pager_reconnects_total", "Connections to the page server made again", c.reconnects);
  counter(out, "faultline_pager_successors_total", "Pagers that took over from one that died", c.successors);
  histogram(out, "faultline_pager_fault_seconds", "From a fault's message to the page in place", c.fault);
}

void server_text(std::string& out, const ServerCounters& c) {
  gauge(out, "faultline_server_clients", "Clients connected now", c.sessions);
  counter(out, "faultline_server_connections_total", "Connections accepted", c.connections);
  counter(out, "faultline_server_refused_total", "Connections refused because there were too many", c.refused);
  counter(out, "faultline_server_broken_total", "Connections ended because of what the client sent, or did not take", c.broken);
  family(out, "faultline_server_requests_total", "counter", "Requests for pages, by class", {{"class=\"demand\"", c.requests_demand}, {"class=\"bulk\"", c.requests_bulk}});
  counter(out, "faultline_server_failed_requests_total", "Requests that could not be answered", c.requests_failed);
  family(out, "faultline_server_bytes_total", "counter", "Bytes of pages and files answered with, before they are packed, by class",
         {{"class=\"demand\"", c.bytes_demand}, {"class=\"bulk\"", c.bytes_bulk}, {"class=\"files\"", c.bytes_files}});
  counter(out, "faultline_server_sent_bytes_total", "Bytes on the wire", c.bytes_sent);
  counter(out, "faultline_server_zero_pages_total", "Pages of zeros, which are not sent", c.pages_zero);
  family(out, "faultline_server_reads_total", "counter", "Reads of image files, by where they were",
         {{"from=\"cache\"", c.reads_cached}, {"from=\"disk\"", c.reads_disk}});
  gauge(out, "faultline_server_queued_requests", "Requests that are not answered yet", c.queued);
  gauge(out, "faultline_server_buffer_bytes", "Memory for replies, in use or kept for reuse", c.buffer_bytes);
}

}  // namespace

std::string metrics_text(const LivePage& page) {
  std::string out;
  head(out, "faultline_info", "gauge", "What this process is");
  out += fmt::format("faultline_info{{kind=\"{}\",name=\"{}\"}} 1\n", name_of(page.kind), escaped(page.name));
  head(out, "faultline_start_time_seconds", "gauge", "When it was started, in seconds since 1970");
  out += fmt::format("faultline_start_time_seconds {}\n", page.started);
  if (page.kind == LiveKind::kPager) pager_text(out, page.pager);
  else server_text(out, page.server);
  return out;
}

}  // namespace faultline::pageserver
