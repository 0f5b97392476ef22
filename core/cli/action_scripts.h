#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "core/base/result.h"

namespace faultline::cli {

class StopRequest;

// The programs of --action-script. They are run without arguments; CRTOOLS_SCRIPT_ACTION tells them which moment it is,
// CRTOOLS_IMAGE_DIR where the images are (below /proc of this process), CRTOOLS_INIT_PID the root of the tree, once known.
class ActionScripts {
 public:
  // `images_fd` stays the caller's and open. Names without a slash at their beginning are looked for in the current directory (the
  // work directory), then in `start_dir`. Errors: ENOENT, EACCES if one of them cannot be executed, before anything is begun.
  static Result<ActionScripts> find(const std::vector<std::string>& names, const std::string& start_dir, int images_fd);

  void set_init_pid(pid_t pid) { init_pid_ = pid; }
  // For who works behind a front: scripts belong to the group of the front, as if it had started them, and are not waited for (ECANCELED)
  // once the work is to be given up. `stop` stays the caller's.
  void run_behind(const StopRequest& stop) { stop_ = &stop; }

  // Runs all scripts, the one added last first, also if one fails. Errors: the failure of the first that failed; exit_code() is its code then.
  Result<void> run(const char* action);
  // For actions whose failure must not change anything: it is logged.
  void run_and_log(const char* action);

  // The exit code of the script that failed last, 128 + number if it was killed by a signal; 0 if none did.
  int exit_code() const { return exit_code_; }
  bool empty() const { return paths_.empty(); }

 private:
  ActionScripts(std::vector<std::string> paths, int images_fd) : paths_(std::move(paths)), images_fd_(images_fd) {}
  Result<int> run_one(const std::string& path, const char* action) const;
  Result<void> wait_for(const std::string& path, pid_t pid) const;

  std::vector<std::string> paths_;
  int images_fd_;
  pid_t init_pid_ = 0;
  const StopRequest* stop_ = nullptr;
  int exit_code_ = 0;
};

}  // namespace faultline::cli
