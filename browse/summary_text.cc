#include <time.h>

#include <algorithm>
#include <cmath>

#include "browse/summary.h"
#include "core/base/progress.h"
#include "core/image/json_writer.h"
#include "core/image/present.h"

namespace faultline::browse {

namespace {

constexpr size_t kMostDamage = 20;  // lines
constexpr unsigned kDeepest = 8;    // levels of the tree that are drawn
constexpr unsigned kBarWidth = 30;

std::string time_text(const timespec& time, const char* format) {
  tm parts = {};
  char text[64] = "";
  if (::gmtime_r(&time.tv_sec, &parts)) ::strftime(text, sizeof text, format, &parts);
  return text;
}

std::string plural(uint64_t n, const char* one, const char* many) { return fmt::format("{} {}", n, n == 1 ? one : many); }

// `share` of kBarWidth, in steps of an eighth of a column.
std::string bar(double share, bool unicode) {
  const auto eighths = static_cast<unsigned>(std::lround(std::clamp(share, 0.0, 1.0) * kBarWidth * 8));
  if (!unicode) {
    const unsigned full = std::max(eighths / 8, share > 0 ? 1u : 0u);
    return std::string(full, '#') + std::string(kBarWidth - full, ' ');
  }
  constexpr const char* kPieces[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
  std::string text;
  for (unsigned i = 0; i < eighths / 8; ++i) text += "█";
  const unsigned rest = eighths % 8 ? eighths % 8 : eighths == 0 && share > 0 ? 1 : 0;
  text += kPieces[rest];
  return text + std::string(kBarWidth - eighths / 8 - (rest ? 1 : 0), ' ');
}

std::string origin_text(const Summary& s) {
  std::string text = s.tool.empty() ? "a tool that does not say who it is" : image::printable(s.tool);
  if (!s.host.empty()) text += fmt::format(" on {} (Linux {}, {})", image::printable(s.host), image::printable(s.kernel), image::printable(s.machine));
  for (const std::string& option : s.options) text += " " + image::printable(option);
  return text;
}

std::string head_text(const Summary& s) {
  std::string text = fmt::format("{}\n", image::printable(s.name));
  text += fmt::format("  made         {}{}\n", time_text(s.time, "%F %T UTC"),
                      s.complete ? "" : "; NOT COMPLETE: it has no inventory, so that it cannot be restored");
  text += fmt::format("  by           {}\n", origin_text(s));
  text += fmt::format("  holds        {}{}, {}, {}, {} mapped{}\n", plural(s.processes.size(), "process", "processes"),
                      s.zombies ? fmt::format(" ({})", plural(s.zombies, "zombie", "zombies")) : "", plural(s.threads, "thread", "threads"), plural(s.areas, "area", "areas"),
                      human_size(s.size - of(s.bytes, Part::kReserved)),
                      of(s.bytes, Part::kReserved) ? fmt::format(" and {} only reserved", human_size(of(s.bytes, Part::kReserved))) : "");
  text += fmt::format("  images       {}, {}\n", plural(s.files, "file", "files"), human_size(s.files_size));
  if (s.shared_objects)
    text += fmt::format("  shared       {} of shared memory, {} stored\n", plural(s.shared_objects, "object", "objects"), human_size(s.shared_size));
  return text;
}

std::string chart_text(const Summary& s, bool unicode) {
  const uint64_t all = s.size - of(s.bytes, Part::kReserved);
  if (all == 0) return "";
  std::string text = "\nMemory\n";
  for (size_t i = 0; i < kParts; ++i) {
    if (s.bytes[i] == 0 || static_cast<Part>(i) == Part::kReserved) continue;
    const double share = static_cast<double>(s.bytes[i]) / static_cast<double>(all);
    text += fmt::format("  {:<20} {} {:>10} {:>5.1f} %\n", text_of(static_cast<Part>(i)), bar(share, unicode), human_size(s.bytes[i]), share * 100);
  }
  return text;
}

std::string name_in_tree(const ProcessSummary& p, bool unicode) {
  std::string text;
  const unsigned depth = std::min(p.depth, kDeepest);
  for (unsigned i = 1; i < depth; ++i) text += "  ";
  if (depth) text += unicode ? "└ " : "+ ";
  return text + (p.comm.empty() ? "?" : image::printable(p.comm));
}

// The text, filled up to `columns`; each byte but the continuations of UTF-8 takes one.
std::string padded(std::string text, size_t columns) {
  const auto taken = static_cast<size_t>(std::ranges::count_if(text, [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
  if (taken < columns) text.append(columns - taken, ' ');
  return text;
}

std::string processes_text(const Summary& s, bool unicode) {
  std::string text = fmt::format("\n{:>8}  {:<24} S {:>7} {:>6} {:>6} {:>10} {:>10} {:>10} {:>10} {:>10}\n", "PID", "NAME", "THREADS", "FDS", "AREAS", "SIZE", "STORED", "ZERO",
                                 "SHARED", "FILES");
  const auto size = [](uint64_t bytes) { return bytes ? human_size(bytes) : std::string("-"); };
  for (const ProcessSummary& p : s.processes) {
    text += fmt::format("{:>8}  {} {} {:>7} {:>6} {:>6} {:>10} {:>10} {:>10} {:>10} {:>10}", p.pid, padded(name_in_tree(p, unicode), 24), p.state, p.threads, p.fds, p.areas,
                        size(p.size - of(p.bytes, Part::kReserved)), size(of(p.bytes, Part::kStored) + of(p.bytes, Part::kParents)), size(of(p.bytes, Part::kZero)),
                        size(of(p.bytes, Part::kShared)), size(of(p.bytes, Part::kFile) + of(p.bytes, Part::kAbsent)));
    if (p.touched) text += fmt::format("  {} recorded", plural(p.touched, "page", "pages"));
    if (!p.damage.empty()) text += "  DAMAGED";
    text += '\n';
  }
  return text;
}

std::string areas_text(const Summary& s, unsigned width) {
  if (s.largest.empty()) return "";
  std::string text = fmt::format("\nLargest areas\n{:>8}  {:<29} {:<5} {:>10} {:>10}  {}\n", "PID", "ADDRESSES", "PERMS", "SIZE", "STORED", "NAME");
  for (const AreaSummary& a : s.largest) {
    std::string line = fmt::format("{:>8}  {:<29} {:<5} {:>10} {:>10}  ", a.pid, fmt::format("{:x}-{:x}", a.start, a.end), a.perms, human_size(a.end - a.start),
                                   human_size(of(a.bytes, Part::kStored) + of(a.bytes, Part::kParents) + of(a.bytes, Part::kShared)));
    const std::string name = image::printable(a.name);
    // The end of a path tells more than its beginning.
    const size_t room = width > line.size() + 10 ? width - line.size() : 10;
    text += line + (name.size() > room ? "..." + name.substr(name.size() - room + 3) : name) + '\n';
  }
  return text;
}

std::string damage_text(const Summary& s) {
  std::vector<std::string> lines = s.damage;
  for (const ProcessSummary& p : s.processes)
    if (!p.damage.empty()) lines.push_back(fmt::format("process {}: {}", p.pid, p.damage));
  if (of(s.bytes, Part::kLost)) lines.push_back(fmt::format("{} of memory are lost", human_size(of(s.bytes, Part::kLost))));
  if (lines.empty()) return "";
  std::string text = "\nDamage\n";
  for (size_t i = 0; i < std::min(lines.size(), kMostDamage); ++i) text += fmt::format("  {}\n", image::printable(lines[i]));
  if (lines.size() > kMostDamage) text += fmt::format("  ... and {} more\n", lines.size() - kMostDamage);
  return text;
}

class Json {
 public:
  std::string take(const Summary& s) {
    out_.open_object();
    text("checkpoint", s.name);
    text("time", time_text(s.time, "%FT%TZ"));
    flag("complete", s.complete);
    flag("damaged", s.damaged());
    for (const auto& [key, value] : {std::pair{"tool", &s.tool}, {"host", &s.host}, {"kernel", &s.kernel}, {"machine", &s.machine}})
      if (!value->empty()) text(key, *value);
    texts("options", s.options);
    out_.key("images");
    out_.open_object();
    number("files", s.files), number("bytes", s.files_size);
    out_.close_object();
    number("processes", s.processes.size()), number("zombies", s.zombies), number("threads", s.threads), number("areas", s.areas);
    memory(s.size, s.bytes);
    out_.key("shared_objects");
    out_.open_object();
    number("count", s.shared_objects), number("bytes", s.shared_size);
    out_.close_object();
    out_.key("tasks");
    out_.open_array();
    for (const ProcessSummary& p : s.processes) process(p);
    out_.close_array();
    out_.key("largest_areas");
    out_.open_array();
    for (const AreaSummary& a : s.largest) area(a);
    out_.close_array();
    texts("damage", s.damage);
    out_.close_object();
    return out_.take() + '\n';
  }

 private:
  void process(const ProcessSummary& p) {
    out_.open_object();
    number("pid", p.pid), number("ppid", p.ppid);
    text("comm", p.comm), text("state", std::string(1, p.state));
    number("threads", p.threads), number("fds", p.fds), number("areas", p.areas);
    memory(p.size, p.bytes);
    number("working_set_pages", p.touched);
    if (!p.damage.empty()) text("damage", p.damage);
    out_.close_object();
  }

  void area(const AreaSummary& a) {
    out_.open_object();
    number("pid", a.pid);
    text("start", fmt::format("{:#x}", a.start)), text("end", fmt::format("{:#x}", a.end));
    text("perms", a.perms), text("name", a.name);
    memory(a.end - a.start, a.bytes);
    out_.close_object();
  }

  void memory(uint64_t size, const Bytes& bytes) {
    out_.key("memory");
    out_.open_object();
    number("size", size);
    for (size_t i = 0; i < kParts; ++i) number(key_of(static_cast<Part>(i)), bytes[i]);
    out_.close_object();
  }

  void number(std::string_view key, uint64_t value) { out_.key(key), out_.number(value); }
  void flag(std::string_view key, bool value) { out_.key(key), out_.boolean(value); }
  void text(std::string_view key, const std::string& value) { out_.key(key), string(value); }
  void string(const std::string& value) { out_.text(image::is_utf8(value) ? value : image::show_bytes(value)); }
  void texts(std::string_view key, const std::vector<std::string>& values) {
    out_.key(key);
    out_.open_array();
    for (const std::string& value : values) string(value);
    out_.close_array();
  }

  image::JsonWriter out_;
};

}  // namespace

std::string summary_text(const Summary& summary, unsigned width, bool unicode) {
  return head_text(summary) + chart_text(summary, unicode) + processes_text(summary, unicode) + areas_text(summary, width) + damage_text(summary);
}

std::string summary_json(const Summary& summary) { return Json().take(summary); }

}  // namespace faultline::browse
