#pragma once

#include <optional>
#include <span>
#include <string>

#include "core/base/result.h"
#include "core/cli/options.h"
#include "core/image/image_dir.h"

namespace faultline::cli {

// What has been prepared for a command. For commands with images the current directory is the work directory, and the log is open.
struct Context {
  const Options& options;
  std::optional<image::ImageDir> images;  // of commands that need it
  std::string start_dir;                  // where the user was, absolute
};

// A command: one file, one entry in the table of commands.cc.
struct Command {
  const char* name;
  Verb verb;
  const char* summary;      // one line
  const char* usage;        // what stands behind the name
  const char* description;  // whole lines
  const char* examples;     // whole lines
  bool images;              // needs the images directory, the work directory and the log
  bool privileged;          // needs CAP_SYS_ADMIN or CAP_CHECKPOINT_RESTORE to begin with (not with --dry-run)
  // The exit code, or an error, which is logged and makes the exit code 1.
  Result<int> (*run)(Context&);
};

std::span<const Command* const> commands();
// nullptr if there is no such command yet.
const Command* command_of(Verb verb);

extern const Command kCheckCommand;
extern const Command kDecodeCommand;
extern const Command kDumpCommand;
extern const Command kLazyPagesCommand;
extern const Command kMountCommand;
extern const Command kPageServerCommand;
extern const Command kRestoreCommand;
extern const Command kShowCommand;
extern const Command kTopCommand;
extern const Command kUmountCommand;

// Tells the user what failed: in the log, on standard error where the log is a file, on standard output with --json.
void report(const Options& options, const Error& e);
// Whether a progress bar is wanted: by --progress, or because standard error is a terminal.
bool shows_progress(const Options& options);

// The whole program: parses, prepares, runs, reports. Returns the exit code. `args` is argv.
int run(std::span<const char* const> args);

}  // namespace faultline::cli
