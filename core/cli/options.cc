#include "core/cli/options.h"

#include <getopt.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "core/base/log.h"
#include "core/cli/config_file.h"
#include "core/cli/option_pairs.h"
#include "core/cli/option_readers.h"
#include "core/cli/option_table.h"
#include "pageserver/metrics.h"

namespace faultline::cli {

namespace {

struct VerbName {
  const char* name;
  Verb verb;
};

constexpr VerbName kVerbNames[] = {
    {"dump", kDump},       {"pre-dump", kPreDump}, {"restore", kRestore}, {"lazy-pages", kLazyPages}, {"page-server", kPageServer},
    {"service", kService}, {"check", kCheck},      {"cpuinfo", kCpuinfo}, {"dedup", kDedup},          {"swrk", kSwrk},
    {"decode", kDecode},   {"top", kTop},     {"mount", kMount},   {"umount", kUmount},   {"exec", kGone},        {"show", kShow},
};

// What getopt_long returns for a long option: its row, and whether it was the --no- form. Above every character.
constexpr int kLongBase = 256;
constexpr int long_value(size_t row, bool negative) { return kLongBase + static_cast<int>(row) * 2 + (negative ? 1 : 0); }

int getopt_argument(Form form) {
  switch (form) {
    case Form::kRequired: return required_argument;
    case Form::kOptional: return optional_argument;
    default: return no_argument;
  }
}

// The table in the two forms that getopt_long wants.
struct Grammar {
  std::string shorts = ":";  // the colon: a missing argument is told from an unknown option
  std::vector<option> longs;
  std::vector<std::string> negative_names;

  Grammar() {
    const auto table = option_table();
    negative_names.reserve(table.size());
    for (size_t i = 0; i < table.size(); ++i) {
      const Spec& spec = table[i];
      longs.push_back({spec.name, getopt_argument(spec.form), nullptr, long_value(i, false)});
      if (spec.form == Form::kBool) {
        negative_names.push_back(std::string("no-") + spec.name);
        longs.push_back({negative_names.back().c_str(), no_argument, nullptr, long_value(i, true)});
      }
      if (spec.short_name) {
        shorts += spec.short_name;
        if (spec.form == Form::kRequired) shorts += ':';
        if (spec.form == Form::kOptional) shorts += "::";
      }
    }
    longs.push_back({nullptr, 0, nullptr, 0});
  }
};

const Grammar& grammar() {
  static const Grammar instance;
  return instance;
}

const Spec* spec_of(int value, bool* negative) {
  const auto table = option_table();
  *negative = value >= kLongBase && (value - kLongBase) % 2 != 0;
  if (value >= kLongBase) return &table[static_cast<size_t>((value - kLongBase) / 2)];
  const auto it = std::ranges::find_if(table, [&](const Spec& s) { return s.short_name && s.short_name == value; });
  return it == table.end() ? nullptr : &*it;
}

// Stores one value as the member's type says. `text` is null for options without an argument.
Result<void> store(const Spec& spec, bool negative, const char* text, Options& options) {
  if (spec.read) return spec.read(options, text ? std::optional<std::string_view>(text) : std::nullopt);
  if (text && spec.argument && strchr(spec.argument, '|') && !one_of(spec.argument, text))
    return error(EINVAL, "\"{}\" is not one of {}", text, spec.argument);
  if (auto* flag = std::get_if<bool Options::*>(&spec.member)) {
    options.**flag = !negative;
  } else if (auto* number = std::get_if<int Options::*>(&spec.member)) {
    options.**number = TRY(read_number(text, spec.minimum));
  } else if (auto* size = std::get_if<uint64_t Options::*>(&spec.member)) {
    options.**size = TRY(parse_size(text));
  } else if (auto* list = std::get_if<std::vector<std::string> Options::*>(&spec.member)) {
    (options.**list).emplace_back(text);
  } else {
    const auto member = std::get<std::string Options::*>(spec.member);
    if (!text) options.*member = negative ? "no" : "yes";
    else if (*text) options.*member = text;
    else return error(EINVAL, "the argument is empty");
  }
  return {};
}

std::string prefix(const std::string& source) { return source.empty() ? "" : source + ": "; }

// Why getopt_long did not accept `word`, which it does not tell itself.
Failure not_understood(const std::string& source, const char* word) {
  if (strncmp(word, "--", 2) != 0)
    return error(EINVAL, "{}there is no option -{}; faultline --help lists the commands, faultline COMMAND --help their options", prefix(source),
                 static_cast<char>(optopt));
  const std::string_view whole(word + 2);
  const std::string_view name = whole.substr(0, whole.find('='));
  if (optopt != 0) return error(EINVAL, "{}--{} takes no argument", prefix(source), name);
  std::string candidates;
  for (const option& o : grammar().longs)
    if (o.name && std::string_view(o.name).starts_with(name)) candidates += std::string(candidates.empty() ? "--" : ", --") + o.name;
  if (!candidates.empty()) return error(EINVAL, "{}--{} is ambiguous: {}", prefix(source), name, candidates);
  return error(EINVAL, "{}there is no option --{}; faultline COMMAND --help lists those of a command", prefix(source), name);
}

std::string spelled(const Spec& spec) { return std::string("--") + spec.name; }

std::vector<std::string> find_without_effect(const Options& options, Verb verb) {
  std::vector<std::string> names;
  for (const Spec& spec : option_table())
    if (!(spec.verbs & verb) && !is_default(spec, options)) names.push_back(spelled(spec));
  return names;
}

// Options that only make sense together with others.
// A program that is given away.
Result<void> check_live(const Options& o) {
  if (o.leave_running) return error(EINVAL, "with --lazy-pages the program goes to another host: --leave-running would have it run twice; leave it out, or use --leave-stopped");
  if (o.page_server || o.ps_socket >= 0)
    return error(EINVAL, "--lazy-pages keeps the memory here for others to fetch, --page-server sends it away; give one of them");
  return {};
}

Result<void> check_combinations(const Options& o) {
  const auto refuse = [](const char* text) { return error(EINVAL, "{}", text); };
  if (o.verb == kDump && o.tree == 0) return refuse("no process given; say which one with --tree PID");
  if (o.leave_running && o.leave_stopped) return refuse("--leave-running and --leave-stopped contradict each other; give one of them");
  if (o.exec_cmd && o.detached) return refuse("--exec-cmd and --restore-detached contradict each other; give one of them");
  if (o.exec_cmd && o.words.empty()) return refuse("--exec-cmd needs a command: faultline restore --exec-cmd -- COMMAND ARGUMENTS");
  if (o.restore_sibling && !o.detached) return refuse("--restore-sibling needs --restore-detached");
  if (o.verb != kRestore && !o.inherit_fd.empty()) return refuse("--inherit-fd belongs to restore");
  if (o.verb != kRestore && o.mntns_compat_mode) return refuse("--mntns-compat-mode belongs to restore");
  const bool listens = o.verb == kPageServer || (o.verb == kDump && o.lazy_pages);
  if (listens && !o.allow.empty() && !o.tls) return refuse("--allow needs --tls: only a certificate tells who a client is");
  const bool connects = (o.verb & (kDump | kRestore | kLazyPages)) && o.page_server;
  if (connects && o.port == 0 && o.ps_socket < 0) return refuse("--page-server needs --port PORT (and --address HOST), or --ps-socket FD");
  if (!o.metrics.empty()) {
    if (o.verb != kLazyPages && !o.lazy_pages) return refuse("--metrics needs --lazy-pages: there is nothing to count without");
    if (auto address = pageserver::parse_metrics_address(o.metrics); !address) return wrap(address.error(), "--metrics");
  }
  if (o.verb == kDump && o.lazy_pages) TRY(check_live(o));
  if (o.verb == kMount && o.foreground && o.detached) return refuse("--foreground and --daemon contradict each other; give one of them");
  if (o.verb == kShow && o.json && !o.html.empty()) return refuse("--json and --html contradict each other; give one of them");
  if (o.verb == kPreDump && o.lazy_pages) return refuse("pre-dump cannot work with --lazy-pages");
  return {};
}

Result<void> check_words(const Options& o) {
  if (o.exec_cmd && o.verb == kRestore) return {};
  size_t wanted = 0;
  if (o.verb == kDecode || o.verb == kSwrk || o.verb == kCpuinfo || o.verb == kShow || o.verb == kUmount) wanted = 1;
  if (o.verb == kMount) wanted = 2;
  if (o.verb == kGone) return {};
  if (o.words.size() > wanted) return error(EINVAL, "\"{}\" is one word too many; options begin with --", o.words[wanted]);
  if (o.words.size() < wanted && o.verb == kDecode) return error(EINVAL, "no file given: faultline decode FILE");
  if (o.words.size() < wanted && o.verb == kShow) return error(EINVAL, "say which checkpoint: faultline show DIR");
  if (o.words.size() < wanted && o.verb == kMount) return error(EINVAL, "say which checkpoint and where: faultline mount DIR MOUNTPOINT");
  if (o.words.size() < wanted && o.verb == kUmount) return error(EINVAL, "say where it is mounted: faultline umount MOUNTPOINT");
  if (o.words.size() < wanted && o.verb == kCpuinfo) return error(EINVAL, "cpuinfo needs dump or check behind it");
  if (o.words.size() < wanted) return error(EINVAL, "swrk needs the number of a socket");
  return {};
}

// "/usr/sbin/criu": what drives CRIU expects some things to go that Faultline asks twice about.
bool is_criu(std::string_view program) { return program.substr(program.rfind('/') + 1) == "criu"; }

}  // namespace

Verb verb_of(std::string_view word) {
  for (const auto& v : kVerbNames)
    if (word == v.name) return v.verb;
  return kNoVerb;
}

Result<void> parse_words(std::span<const char* const> args, const std::string& source, Options& options) {
  // getopt_long reorders the words, so that it gets a copy; it does not write into them.
  std::vector<char*> argv = {const_cast<char*>("faultline")};
  for (const char* arg : args) argv.push_back(const_cast<char*>(arg));
  argv.push_back(nullptr);
  const int argc = static_cast<int>(argv.size()) - 1;
  optind = 0;  // glibc: start anew
  opterr = 0;
  for (;;) {
    optopt = 0;
    const int value = getopt_long(argc, argv.data(), grammar().shorts.c_str(), grammar().longs.data(), nullptr);
    if (value == -1) break;
    if (value == '?') return not_understood(source, argv[static_cast<size_t>(optind - 1)]);
    bool negative = false;
    const Spec* spec = spec_of(value == ':' ? optopt : value, &negative);
    FL_CHECK(spec != nullptr);
    if (value == ':') return error(EINVAL, "{}{} needs an argument: {}", prefix(source), spelled(*spec), spec->argument);
    if (auto done = store(*spec, negative, optarg, options); !done) return wrap(done.error(), "{}{}", prefix(source), spelled(*spec));
  }
  for (int i = optind; i < argc; ++i) options.words.emplace_back(argv[static_cast<size_t>(i)]);
  return {};
}

Result<Options> parse(std::span<const char* const> args) {
  const auto own = args.subspan(args.empty() ? 0 : 1);
  // Which files to read stands on the command line, which overrides them: so it is read twice.
  Options first;
  TRY(parse_words(own, "", first));
  Options options;
  // Help and version must come even if a configuration file is broken.
  if (!first.help && !first.version) TRY(apply_config_files(first, options));
  if (getenv("CRIU_DEPRECATED")) options.deprecated = true;
  TRY(parse_words(own, "", options));
  if (!args.empty()) options.as_criu = is_criu(args.front());
  if (!options.words.empty()) {
    options.verb_name = options.words.front();
    options.words.erase(options.words.begin());
    options.verb = verb_of(options.verb_name);
    if (options.as_criu && options.verb == kShow) options.verb = kGone;
    if (options.verb == kNoVerb) return error(EINVAL, "there is no command \"{}\"; faultline --help lists them", options.verb_name);
    options.without_effect = find_without_effect(first, options.verb);
    options.unpaired = find_pairs_without_effect(first, options);
  }
  return options;
}

Result<void> validate(const Options& options) {
  TRY(check_words(options));
  for (const Spec& spec : option_table()) {
    if (!(spec.verbs & options.verb) || (spec.works & options.verb) || is_default(spec, options)) continue;
    if (spec.harmless && spec.harmless(options)) continue;
    return error(ENOSYS, "{} is not implemented for {} yet{}{}", spelled(spec), options.verb_name, spec.way_out ? "; " : "",
                 spec.way_out ? spec.way_out : "");
  }
  TRY(check_combinations(options));
  if (!options.as_criu && !options.unpaired.empty()) return error(EINVAL, "{}", options.unpaired.front());
  return {};
}

}  // namespace faultline::cli
