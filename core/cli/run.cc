#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <climits>
#include <cstdio>
#include <cstdlib>

#include "core/base/log.h"
#include "core/cli/commands.h"
#include "core/cli/help.h"
#include "core/cli/json_text.h"
#include "core/cli/option_readers.h"
#include "core/sys/capabilities.h"

namespace faultline::cli {

namespace {

constexpr int kFailed = 1;
constexpr int kGoneCode = 255;

// The first line is what programs that drive CRIU look for: whose interface this is.
int print_version() {
  printf("Version: 4.2\nFaultline: " FAULTLINE_VERSION "\n");
  return 0;
}

int print_help(const Options& options) {
  fputs(options.verb == kNoVerb ? general_help().c_str() : verb_help(options.verb).c_str(), stdout);
  return 0;
}

// Words that cannot be understood: no log is open yet, so that this goes to standard error whatever the options said.
int usage_error(const Error& e) {
  fprintf(stderr, "faultline: %s\n", e.what.c_str());
  return kFailed;
}

Result<void> close_descriptors(const Options& options) {
  for (const std::string& text : options.close) {
    auto fd = read_number(text, 0);
    if (!fd) return wrap(fd.error(), "--close");
    if (::close(*fd) < 0) return sys_error("--close: cannot close descriptor {}", *fd);
  }
  return {};
}

Result<void> check_privileges(const Options& options) {
  if (geteuid() != 0 && !options.unprivileged)
    return error(EPERM, "faultline runs with an effective uid of {}, not as root; run it as root, or give it CAP_CHECKPOINT_RESTORE and add --unprivileged",
                 geteuid());
  const auto caps = TRY(sys::effective_capabilities());
  if (!caps.has(sys::kCapSysAdmin) && !caps.has(sys::kCapCheckpointRestore))
    return error(EPERM, "neither CAP_SYS_ADMIN nor CAP_CHECKPOINT_RESTORE is there; run as root, or: setcap cap_checkpoint_restore,cap_sys_ptrace+ep on the program");
  return {};
}

Result<std::string> current_dir() {
  char buffer[PATH_MAX];
  if (!getcwd(buffer, sizeof buffer)) return sys_error("cannot find out the current directory");
  return std::string(buffer);
}

// The order is CRIU's: images directory, work directory, log (formats/cli-and-rpc.md, section 2).
Result<void> open_directories(Context& context) {
  const Options& o = context.options;
  context.images = TRY(image::ImageDir::open(o.images_dir));
  if (o.work_dir.empty()) {
    if (fchdir(context.images->fd()) < 0) return sys_error("cannot change into the images directory {}", o.images_dir);
  } else if (chdir(o.work_dir.c_str()) < 0) {
    return sys_error("cannot change into the work directory {}", o.work_dir);
  }
  return log::open(o.log_file, o.verbosity);
}

Result<int> run_command(const Command& command, Context& context) {
  const Options& options = context.options;
  if (command.privileged && !options.dry_run) TRY(check_privileges(options));
  if (command.images) TRY(open_directories(context));
  else TRY(log::open("", options.verbosity));
  for (const auto& name : options.without_effect) LOG_WARNING("{} has no effect in {}", name, options.verb_name);
  for (const auto& sentence : options.unpaired) LOG_WARNING("{}", sentence);
  if (getenv("CRIU_FAULT")) LOG_WARNING("CRIU_FAULT is set: there is no fault injection in this version");
  return command.run(context);
}

int no_command(const Options& options) {
  if (options.verb == kGone) {
    fprintf(stderr, "faultline: the command %s no longer exists%s\n", options.verb_name.c_str(),
            options.verb_name == "show" ? "; use: faultline decode FILE" : "");
    return kGoneCode;
  }
  fprintf(stderr, "faultline: %s is not implemented yet; faultline --help lists the commands that are\n", options.verb_name.c_str());
  return kFailed;
}

}  // namespace

void report(const Options& options, const Error& e) {
  LOG_ERROR("{}: {}", options.verb_name, e.what);
  if (!options.log_file.empty() && options.verbosity > 0) fprintf(stderr, "faultline: %s: %s\n", options.verb_name.c_str(), e.what.c_str());
  if (options.json)
    printf("{\"command\": %s, \"success\": false, \"reason\": %s}\n", json_string(options.verb_name).c_str(), json_string(e.what).c_str());
}

bool shows_progress(const Options& options) {
  if (options.progress == "auto") return isatty(STDERR_FILENO) && !options.json;
  return options.progress == "yes";
}

int run(std::span<const char* const> args) {
  signal(SIGPIPE, SIG_IGN);
  auto parsed = parse(args);
  if (!parsed) return usage_error(parsed.error());
  const Options& options = *parsed;
  if (options.version) return print_version();
  if (options.help) return print_help(options);
  if (options.verb == kNoVerb) {
    fputs(general_help().c_str(), stderr);
    return kFailed;
  }
  const Command* command = command_of(options.verb);
  if (!command) return no_command(options);
  if (auto valid = validate(options); !valid) return usage_error(Error{valid.error().code, options.verb_name + ": " + valid.error().what});
  if (auto closed = close_descriptors(options); !closed) return usage_error(closed.error());

  auto start = current_dir();
  if (!start) return usage_error(start.error());
  Context context{options, std::nullopt, *start};
  auto code = run_command(*command, context);
  if (code) return *code;
  report(options, code.error());
  return kFailed;
}

}  // namespace faultline::cli
