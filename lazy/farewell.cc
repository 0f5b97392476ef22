#include "lazy/farewell.h"

#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <vector>

#include "core/base/log.h"
#include "core/sys/proc.h"

namespace faultline::lazy {

namespace {

using Clock = std::chrono::steady_clock;
constexpr auto kPatience = std::chrono::seconds(5);

void send_signal(int pidfd, int signal) { (void)::syscall(SYS_pidfd_send_signal, pidfd, signal, nullptr, 0); }

bool is_final(int code) { return code == ECONNREFUSED || code == ECANCELED || code == EBUSY; }

bool ended(int pidfd) {
  pollfd p = {.fd = pidfd, .events = POLLIN, .revents = 0};
  return ::poll(&p, 1, 0) > 0;
}

// A thread that waits inside the kernel for a page that nobody brings any more does not run either.
bool stands_still(pid_t pid) {
  const auto threads = sys::threads_of(pid);
  if (!threads) return true;  // gone
  return std::ranges::all_of(*threads, [pid](pid_t tid) {
    const auto stat = sys::read_stat(pid, tid);
    return !stat || std::string_view("TtZXD").find(stat->state) != std::string_view::npos;
  });
}

Result<void> stop(pid_t pid, int pidfd) {
  send_signal(pidfd, SIGSTOP);
  for (const auto end = Clock::now() + kPatience; !ended(pidfd) && !stands_still(pid);) {
    if (Clock::now() > end) return error(ETIMEDOUT, "process {} cannot be stopped", pid);
    const timespec pause = {.tv_sec = 0, .tv_nsec = 1'000'000};
    (void)::nanosleep(&pause, nullptr);
  }
  return {};
}

// Stops the processes of a tree, and finds those that they have forked.
//
// A process is stopped before it is asked for its children, so that none is born unseen. One whose parent ends meanwhile goes to an ancestor:
// so ancestors are asked last, and all of them again until that brings nothing new, twice.
class Roundup {
 public:
  explicit Roundup(const HeldTree& tree) : found_(tree.processes), reaper_(tree.reaper) {}

  Result<void> gather() {
    for (const HeldProcess& process : found_) TRY(stop(process.pid, process.pidfd));
    for (int quiet = 0; quiet < 2;) {
      const size_t before = found_.size();
      for (size_t i = before; i-- > 0;) TRY(look_at(found_[i]));
      if (reaper_) TRY(look_at(*reaper_));
      quiet = found_.size() == before ? quiet + 1 : 0;
    }
    return {};
  }

  void kill() const {
    for (const HeldProcess& process : found_) send_signal(process.pidfd, SIGKILL);
    for (const HeldProcess& process : found_) {
      pollfd p = {.fd = process.pidfd, .events = POLLIN, .revents = 0};
      while (::poll(&p, 1, -1) < 0 && errno == EINTR) {
      }
    }
  }

 private:
  // By value: found_ grows.
  Result<void> look_at(HeldProcess parent) {
    const auto children = sys::children_of(parent.pid);
    if (!children || ended(parent.pidfd)) return {};  // the number may be that of somebody else by now
    for (const pid_t child : *children) {
      if (child == ::getpid() || child == ::getppid() || std::ranges::find(found_, child, &HeldProcess::pid) != found_.end()) continue;
      UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, child, 0)));
      const auto stat = sys::read_stat(child);
      if (!pidfd || !stat || stat->ppid != parent.pid) continue;  // gone, or gone to an ancestor
      found_.push_back({child, pidfd.get()});
      opened_.push_back(std::move(pidfd));
      TRY(stop(child, found_.back().pidfd));
    }
    return {};
  }

  std::vector<HeldProcess> found_;
  std::optional<HeldProcess> reaper_;
  std::vector<UniqueFd> opened_;
};

}  // namespace

Result<void> end_processes(const HeldTree& tree) {
  if (tree.processes.empty()) return error(ENOTSUP, "which processes were restored is not known here");
  Roundup roundup(tree);
  if (!tree.contained) TRY(roundup.gather());
  const bool all = tree.contained || (tree.reaper && !ended(tree.reaper->pidfd));
  roundup.kill();
  if (all) return {};
  return error(ESRCH, "processes may still run whose parents have ended, as {}; restore into a pid namespace to be sure (--new-pidns)",
               tree.reaper ? "the restore that got them as children was killed" : "nobody gets them as children");
}

void say_goodbye(const RemoteOptions& remote, const Fate& fate, const HeldTree& tree, pageserver::Client* open) {
  if (!remote.live && !remote.single) return;
  const bool gives_back = fate.revoked || (fate.never_let_go && remote.live);
  if (gives_back) {
    LOG_WARNING("pager: {}; they are killed here", fate.revoked ? "the source of the processes takes them back" : "the restore was killed before it let all processes run");
    if (const auto ended = end_processes(tree); !ended) {
      LOG_ERROR("pager: the source is not told that it may go on, as two copies could run: {}", ended.error().what);
      return;
    }
  } else if (fate.never_let_go) {
    LOG_ERROR("pager: the restore was killed before it let all processes run; the source is not told that all is done, and keeps its own");
    return;
  } else if (fate.gave_up) {
    LOG_ERROR("pager: processes were killed here for lack of pages; the source is not told that all is done, and keeps its own");
    return;
  }
  const auto say = [&](pageserver::Client& client) { return gives_back ? client.confirm_revoked(kPatience) : client.done(kPatience); };
  const auto tell = [&]() -> Result<void> {
    if (open) return say(*open);
    if (remote.single) return error(ENOTCONN, "its only connection is lost");
    auto client = TRY(pageserver::Client::start(TRY(remote.connect()), remote.client));
    TRY(client.wait_ready(kPatience));
    return say(client);
  };
  // A network that is cut at this very moment must not cost the source a decision that only a person can take. But one that does not listen any
  // more, or says no, will not come back.
  const auto end = Clock::now() + remote.page_timeout;
  auto said = tell();
  for (; !said && !open && !remote.single && !is_final(said.error().code) && Clock::now() < end; said = tell()) {
    const timespec pause = {.tv_sec = 0, .tv_nsec = 50'000'000};
    (void)::nanosleep(&pause, nullptr);
  }
  if (!said) LOG_WARNING("pager: the page server {} could not be told what became of the processes: {}", remote.name, said.error().what);
}

}  // namespace faultline::lazy
