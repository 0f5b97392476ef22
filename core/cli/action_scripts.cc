#include "core/cli/action_scripts.h"

#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <ranges>

#include "core/base/log.h"
#include "core/cli/front.h"

namespace faultline::cli {

namespace {

constexpr const char* kVariables[] = {"CRTOOLS_SCRIPT_ACTION=", "CRTOOLS_IMAGE_DIR=", "CRTOOLS_INIT_PID="};

// Our environment without the variables that are the script's own.
std::vector<std::string> inherited_environment() {
  std::vector<std::string> all;
  for (char** entry = environ; *entry; ++entry) {
    bool ours = false;
    for (const char* variable : kVariables) ours = ours || strncmp(*entry, variable, strlen(variable)) == 0;
    if (!ours) all.emplace_back(*entry);
  }
  return all;
}

Result<std::string> executable_path(const std::string& name, const std::string& start_dir) {
  std::vector<std::string> places = {name};
  if (!name.starts_with('/')) places = {"./" + name, start_dir + "/" + name};
  for (const std::string& path : places) {
    struct stat st;
    if (stat(path.c_str(), &st) < 0) continue;
    if (!S_ISREG(st.st_mode)) return error(EACCES, "--action-script: {} is not a regular file", path);
    if (access(path.c_str(), X_OK) < 0) return sys_error("--action-script: {} cannot be executed; chmod +x makes it so", path);
    return path;
  }
  return error(ENOENT, "--action-script: there is no {}", name);
}

// SIGPIPE (and SIGTTOU) is ignored here, and a restore blocks all signals while it works, which a script must not inherit.
struct SpawnAttributes {
  posix_spawnattr_t value;
  explicit SpawnAttributes(const StopRequest* front) {
    posix_spawnattr_init(&value);
    sigset_t defaults;
    sigemptyset(&defaults);
    sigaddset(&defaults, SIGPIPE);
    if (front) sigaddset(&defaults, SIGTTOU);
    posix_spawnattr_setsigdefault(&value, &defaults);
    sigset_t none;
    sigemptyset(&none);
    posix_spawnattr_setsigmask(&value, &none);
    if (front) posix_spawnattr_setpgroup(&value, front->front_group());
    posix_spawnattr_setflags(&value, static_cast<short>(POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | (front ? POSIX_SPAWN_SETPGROUP : 0)));
  }
  ~SpawnAttributes() { posix_spawnattr_destroy(&value); }
};

}  // namespace

Result<ActionScripts> ActionScripts::find(const std::vector<std::string>& names, const std::string& start_dir, int images_fd) {
  std::vector<std::string> paths;
  for (const std::string& name : names) paths.push_back(TRY(executable_path(name, start_dir)));
  return ActionScripts(std::move(paths), images_fd);
}

Result<int> ActionScripts::run_one(const std::string& path, const char* action) const {
  std::vector<std::string> environment = inherited_environment();
  environment.push_back(std::string(kVariables[0]) + action);
  environment.push_back(fmt::format("{}/proc/{}/fd/{}", kVariables[1], getpid(), images_fd_));
  if (init_pid_) environment.push_back(fmt::format("{}{}", kVariables[2], init_pid_));
  std::vector<char*> envp;
  for (std::string& entry : environment) envp.push_back(entry.data());
  envp.push_back(nullptr);

  const SpawnAttributes attributes(stop_);
  char* const direct[] = {const_cast<char*>(path.c_str()), nullptr};
  char* const through_shell[] = {const_cast<char*>("/bin/sh"), const_cast<char*>(path.c_str()), nullptr};
  pid_t pid = 0;
  int code = posix_spawn(&pid, path.c_str(), nullptr, &attributes.value, direct, envp.data());
  // A script without "#!" line is run by the shell, as a shell does.
  if (code == ENOEXEC) code = posix_spawn(&pid, through_shell[0], nullptr, &attributes.value, through_shell, envp.data());
  if (code != 0) {
    errno = code;
    return sys_error("cannot run the action script {}", path);
  }
  TRY(wait_for(path, pid));
  int status = 0;
  while (waitpid(pid, &status, 0) < 0)
    if (errno != EINTR) return sys_error("cannot wait for the action script {}", path);
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

// Its end, or the request to give up.
Result<void> ActionScripts::wait_for(const std::string& path, pid_t pid) const {
  if (!stop_) return {};
  const UniqueFd end(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!end) return sys_error("cannot wait for the action script {}", path);
  pollfd either[] = {{end.get(), POLLIN, 0}, {stop_->fd(), POLLIN, 0}};
  while (::poll(either, 2, -1) < 0)
    if (errno != EINTR) return sys_error("cannot wait for the action script {}", path);
  if (either[0].revents) return {};
  auto go_on = stop_->go_on();
  return go_on ? Result<void>() : wrap(go_on.error(), "the action script {} is not waited for", path);
}

Result<void> ActionScripts::run(const char* action) {
  Result<void> result;
  for (const std::string& path : std::views::reverse(paths_)) {
    LOG_INFO("running the action script {} for {}", path, action);
    auto code = run_one(path, action);
    Result<void> outcome;
    if (!code) outcome = Failure(code.error());
    else if (*code != 0) outcome = error(ECANCELED, "the action script {} ended with exit code {} at {}", path, *code, action);
    if (outcome) continue;
    exit_code_ = code ? *code : 1;
    LOG_ERROR("{}", outcome.error().what);
    if (result) result = std::move(outcome);
  }
  return result;
}

void ActionScripts::run_and_log(const char* action) {
  const int before = exit_code_;
  // run() has logged each failure.
  static_cast<void>(run(action));
  exit_code_ = before;
}

}  // namespace faultline::cli
