#include "core/cli/config_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>

#include "core/base/log.h"
#include "core/base/unique_fd.h"

namespace faultline::cli {

namespace {

constexpr off_t kMaxConfigSize = 1 << 20;

bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r'; }

// Takes one word, quoted or plain, off the front of `line`.
Result<std::string> take_word(std::string_view& line) {
  std::string word;
  if (line.front() != '"') {
    size_t end = 0;
    while (end < line.size() && !is_blank(line[end]) && line[end] != '#') ++end;
    word = line.substr(0, end);
    line.remove_prefix(end);
    return word;
  }
  for (size_t i = 1; i < line.size(); ++i) {
    if (line[i] == '\\' && i + 1 < line.size() && line[i + 1] == '"') {
      word += line[++i];
    } else if (line[i] == '"') {
      line.remove_prefix(i + 1);
      return word;
    } else {
      word += line[i];
    }
  }
  return error(EINVAL, "a quote is opened and not closed");
}

}  // namespace

Result<std::vector<std::string>> config_words(std::string_view line) {
  std::vector<std::string> words;
  for (;;) {
    while (!line.empty() && is_blank(line.front())) line.remove_prefix(1);
    if (line.empty() || line.front() == '#') break;
    words.push_back(TRY(take_word(line)));
  }
  if (words.empty()) return words;
  if (words.front().starts_with('-')) return error(EINVAL, "\"{}\": options stand here without the leading dashes", words.front());
  if (words.size() > 2) return error(EINVAL, "\"{}\" is one word too many; an argument with blanks is written in double quotes", words[2]);
  // Attached, the argument cannot be taken for an option, whatever it begins with; and an option without argument refuses it.
  std::string option = "--" + words.front();
  if (words.size() == 2) option += "=" + words[1];
  return std::vector{option};
}

Result<bool> apply_config_file(const std::string& path, Options& options) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) {
    if (errno == ENOENT || errno == ENOTDIR) return false;
    return sys_error("cannot open the configuration file {}", path);
  }
  struct stat st;
  if (fstat(fd.get(), &st) < 0) return sys_error("cannot examine the configuration file {}", path);
  if (!S_ISREG(st.st_mode)) return error(EINVAL, "the configuration file {} is not a regular file", path);
  if (st.st_size > kMaxConfigSize) return error(EFBIG, "the configuration file {} has more than {} bytes", path, kMaxConfigSize);
  std::string text(static_cast<size_t>(st.st_size), '\0');
  TRY(pread_all(fd.get(), text.data(), text.size(), 0, path.c_str()));

  std::string_view rest = text;
  for (int number = 1; !rest.empty(); ++number) {
    const size_t end = rest.find('\n');
    const std::string_view line = rest.substr(0, end);
    rest.remove_prefix(end == rest.npos ? rest.size() : end + 1);
    const std::string source = fmt::format("{}:{}", path, number);
    auto words = config_words(line);
    if (!words) return wrap(words.error(), "{}", source);
    std::vector<const char*> args;
    for (const auto& word : *words) args.push_back(word.c_str());
    TRY(parse_words(args, source, options));
    if (options.help || options.version || options.no_default_config || !options.config.empty())
      return error(EINVAL, "{}: this option is for the command line only", source);
  }
  return true;
}

Result<void> apply_config_files(const Options& command_line, Options& options) {
  const char* home = getenv("HOME");
  const char* named = getenv("CRIU_CONFIG_FILE");
  if (!command_line.no_default_config && command_line.config.empty()) {
    TRY(apply_config_file("/etc/criu/default.conf", options));
    if (home && *home) TRY(apply_config_file(std::string(home) + "/.criu/default.conf", options));
  }
  if (named && *named) TRY(apply_config_file(named, options));
  if (!command_line.config.empty() && !TRY(apply_config_file(command_line.config, options)))
    LOG_WARNING("--config: there is no file {}; nothing is read in its place", command_line.config);
  return {};
}

}  // namespace faultline::cli
