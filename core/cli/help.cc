#include "core/cli/help.h"

#include <fmt/format.h>

#include "core/cli/commands.h"
#include "core/cli/option_table.h"

namespace faultline::cli {

namespace {

constexpr size_t kWidth = 100;
constexpr size_t kOptionColumn = 34;

struct GroupTitle {
  Group group;
  const char* title;
};

constexpr GroupTitle kGroups[] = {
    {Group::kOwn, "Options of Faultline"}, {Group::kRestore, "How to restore"},         {Group::kObjects, "What may be saved"},
    {Group::kCgroups, "Cgroups"},          {Group::kMemory, "Memory"},                  {Group::kCpu, "What to check"},
    {Group::kGeneral, "Directories, logging, general"},
};

// "  -j, --shell-job", "      --[no-]record", "  -v, --verbosity[=N]"
std::string spelling(const Spec& spec) {
  std::string text = spec.short_name ? fmt::format("  -{}, --", spec.short_name) : "      --";
  if (spec.form == Form::kBool) text += "[no-]";
  text += spec.name;
  // A list of choices belongs into the text behind if it is long.
  if (spec.form == Form::kRequired) text += std::string(" ") + spec.argument;
  if (spec.form == Form::kOptional) text += std::string("[=") + spec.argument + "]";
  return text;
}

std::string option_lines(const Spec& spec) {
  std::string text = spelling(spec);
  if (text.size() + 1 < kOptionColumn) text.resize(kOptionColumn, ' ');
  else text += "\n" + std::string(kOptionColumn, ' ');
  return text + wrapped(spec.help, kOptionColumn, kWidth) + "\n";
}

// The options that CRIU has and that are refused here: to be known before they are tried.
std::string refused_line(Verb verb) {
  std::string names;
  for (const Spec& spec : option_table())
    if ((spec.verbs & verb) && !(spec.works & verb)) names += std::string(names.empty() ? "--" : " --") + spec.name;
  if (names.empty()) return "";
  return "\nNot implemented yet, and refused:\n  " + wrapped(names, 2, kWidth) + "\n";
}

}  // namespace

std::string wrapped(std::string_view text, size_t indent, size_t width) {
  std::string out;
  size_t column = indent;
  while (!text.empty()) {
    const size_t end = std::min(text.find(' '), text.size());
    const std::string_view word = text.substr(0, end);
    if (column > indent && column + 1 + word.size() > width) {
      out += "\n" + std::string(indent, ' ');
      column = indent;
    }
    if (column > indent) {
      out += ' ';
      ++column;
    }
    out += word;
    column += word.size();
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return out;
}

std::string general_help() {
  std::string text =
      "faultline: checkpoints running programs from outside, and restores them lazily\n"
      "\n"
      "usage: faultline COMMAND [OPTIONS]\n"
      "       faultline COMMAND --help\n"
      "\n"
      "Commands:\n";
  for (const Command* c : commands()) text += fmt::format("  {:<14}{}\n", c->name, c->summary);
  text +=
      "\n"
      "To begin with:\n"
      "  faultline check                                  what this kernel and these capabilities allow\n"
      "  faultline dump -t PID -D DIR --shell-job         checkpoint a program of this terminal into DIR; it ends\n"
      "  faultline restore -D DIR --shell-job             bring it back\n"
      "  faultline restore -D DIR --lazy-pages -d         bring it back at once; its memory follows\n"
      "\n"
      "Options stand before or after the command; long names may be abbreviated. Options of /etc/criu/default.conf,\n"
      "~/.criu/default.conf, $CRIU_CONFIG_FILE and --config FILE apply too, one per line without the dashes.\n"
      "Images, options, exit codes and log files are those of CRIU 4.2. An option whose function does not exist yet\n"
      "is refused, never ignored. Exit code: 0 success, 1 failure; the reason is in the log (standard error, or -o FILE).\n";
  return text;
}

std::string verb_help(Verb verb) {
  const Command* command = command_of(verb);
  if (!command) return general_help();
  std::string text = fmt::format("faultline {}: {}\n\nusage: faultline {} {}\n\n{}", command->name, command->summary, command->name,
                                 command->usage, command->description);
  for (const auto& [group, title] : kGroups) {
    std::string lines;
    for (const Spec& spec : option_table())
      if (spec.group == group && (spec.works & verb)) lines += option_lines(spec);
    if (!lines.empty()) text += fmt::format("\n{}:\n{}", title, lines);
  }
  text += refused_line(verb);
  return text + fmt::format("\nExamples:\n{}", command->examples);
}

}  // namespace faultline::cli
