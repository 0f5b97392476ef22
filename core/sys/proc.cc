#include "core/sys/proc.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cinttypes>
#include <climits>
#include <cstdio>
#include <cstring>
#include <memory>

#include "core/base/unique_fd.h"

namespace faultline::sys {

namespace {

// The next line of `text` at `at`, which moves behind it.
std::string_view next_line(std::string_view text, size_t& at) {
  const size_t end = std::min(text.find('\n', at), text.size());
  const std::string_view line = text.substr(at, end - at);
  at = end + 1;
  return line;
}

std::string_view trimmed(std::string_view s) {
  const size_t from = s.find_first_not_of(" \t");
  if (from == std::string_view::npos) return {};
  return s.substr(from, s.find_last_not_of(" \t") + 1 - from);
}

// The beginning of an area in maps and smaps: "start-end perms offset major:minor inode   name".
bool parse_area(std::string_view line, Area& area) {
  int name_at = 0;
  const std::string text(line);
  if (std::sscanf(text.c_str(), "%" SCNx64 "-%" SCNx64 " %4s %" SCNx64 " %x:%x %" SCNu64 " %n", &area.start, &area.end, area.perms, &area.offset,
                  &area.major, &area.minor, &area.inode, &name_at) != 7)
    return false;
  area.name = text.substr(std::min(text.size(), static_cast<size_t>(name_at)));
  return true;
}

}  // namespace

Result<std::string> read_proc(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) {
    if (errno == ENOENT) errno = ESRCH;
    return sys_error("{}", path);
  }
  std::string out;
  size_t got = 0;
  for (;;) {
    out.resize(got + std::max<size_t>(8192, got));
    const ssize_t n = ::read(fd.get(), out.data() + got, out.size() - got);
    if (n < 0) return sys_error("{}", path);
    if (n == 0) break;
    got += static_cast<size_t>(n);
  }
  out.resize(got);
  return out;
}

Result<std::string> read_link(const std::string& path) {
  std::string out(PATH_MAX + 64, '\0');
  const ssize_t n = ::readlink(path.c_str(), out.data(), out.size());
  if (n < 0) return sys_error("{}", path);
  out.resize(static_cast<size_t>(n));
  return out;
}

namespace {

Result<Stat> parse_stat(const std::string& path) {
  const std::string text = TRY(read_proc(path));
  // The name in parentheses may hold anything, even parentheses.
  const size_t close = text.rfind(')');
  if (close == std::string::npos || close + 2 >= text.size()) return error(EBADMSG, "{} cannot be understood", path);
  std::vector<std::string> field(3);  // field[n] is field n of proc(5)
  for (size_t at = close + 2; at < text.size();) {
    const size_t end = std::min(text.find_first_of(" \n", at), text.size());
    field.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  if (field.size() < 53) return error(EBADMSG, "{} has only {} fields", path, field.size());
  const auto number = [&](size_t n) { return std::strtoull(field[n].c_str(), nullptr, 10); };
  Stat s{};
  s.state = field[3][0];
  s.ppid = static_cast<pid_t>(number(4));
  s.pgrp = static_cast<pid_t>(number(5));
  s.session = static_cast<pid_t>(number(6));
  s.flags = static_cast<uint32_t>(number(9));
  s.start_code = number(26), s.end_code = number(27), s.start_stack = number(28);
  s.cpu = static_cast<int>(number(39));
  s.start_data = number(45), s.end_data = number(46), s.start_brk = number(47);
  s.arg_start = number(48), s.arg_end = number(49), s.env_start = number(50), s.env_end = number(51);
  s.exit_code = static_cast<uint32_t>(number(52));
  return s;
}

}  // namespace

Result<Stat> read_stat(pid_t pid) { return parse_stat(fmt::format("/proc/{}/stat", pid)); }
Result<Stat> read_stat(pid_t pid, pid_t tid) { return parse_stat(fmt::format("/proc/{}/task/{}/stat", pid, tid)); }

Result<std::vector<pid_t>> threads_of(pid_t pid) {
  const std::string path = fmt::format("/proc/{}/task", pid);
  std::unique_ptr<DIR, int (*)(DIR*)> dir(::opendir(path.c_str()), ::closedir);
  if (!dir) {
    if (errno == ENOENT) return error(ESRCH, "process {} does not exist", pid);
    return sys_error("{}", path);
  }
  std::vector<pid_t> tids;
  while (const dirent* entry = ::readdir(dir.get()))
    if (entry->d_name[0] != '.') tids.push_back(std::atoi(entry->d_name));
  if (tids.empty()) return error(ESRCH, "process {} has ended", pid);
  // The leader first.
  std::sort(tids.begin(), tids.end(), [pid](pid_t a, pid_t b) { return a == pid ? b != pid : b != pid && a < b; });
  return tids;
}

Result<std::vector<pid_t>> children_of(pid_t pid) {
  std::vector<pid_t> children;
  for (pid_t tid : TRY(threads_of(pid))) {
    auto text = read_proc(fmt::format("/proc/{}/task/{}/children", pid, tid));
    if (!text && text.error().code == ESRCH) continue;
    if (!text) return Failure(text.error());
    const char* at = text->c_str();
    for (char* end; ; at = end) {
      const long child = std::strtol(at, &end, 10);
      if (end == at) break;
      children.push_back(static_cast<pid_t>(child));
    }
  }
  return children;
}

std::string status_field(const std::string& status, std::string_view name) {
  for (size_t at = 0; at < status.size();) {
    const std::string_view line = next_line(status, at);
    if (line.size() > name.size() && line.starts_with(name) && line[name.size()] == ':') return std::string(trimmed(line.substr(name.size() + 1)));
  }
  return {};
}

namespace {

// maps or smaps: of the latter, the line that begins an area alone begins with a lower-case hexadecimal number.
Result<std::vector<Area>> parse_areas(const std::string& path) {
  const std::string text = TRY(read_proc(path));
  std::vector<Area> areas;
  for (size_t at = 0; at < text.size();) {
    const std::string_view line = next_line(text, at);
    if (line.starts_with("VmFlags:") && !areas.empty()) {
      areas.back().flags = fmt::format(" {} ", trimmed(line.substr(8)));
    } else if (!line.empty() && (std::isdigit(static_cast<unsigned char>(line[0])) || (line[0] >= 'a' && line[0] <= 'f'))) {
      Area area{};
      if (!parse_area(line, area)) return error(EBADMSG, "{}: \"{}\" cannot be understood", path, line);
      areas.push_back(std::move(area));
    }
  }
  return areas;
}

}  // namespace

Result<std::vector<Area>> read_maps(pid_t pid) { return parse_areas(fmt::format("/proc/{}/maps", pid)); }
Result<std::vector<Area>> read_smaps(pid_t pid) { return parse_areas(fmt::format("/proc/{}/smaps", pid)); }

}  // namespace faultline::sys
