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
  for (const auto end = Clock::now() + kPatience; !stands_still(pid);) {
    if (Clock::now() > end) return error(ETIMEDOUT, "process {} cannot be stopped", pid);
    const timespec pause = {.tv_sec = 0, .tv_nsec = 1'000'000};
    (void)::nanosleep(&pause, nullptr);
  }
  return {};
}

}  // namespace

Result<void> end_processes(std::span<const HeldProcess> processes) {
  if (processes.empty()) return error(ENOTSUP, "which processes were restored is not known here");
  std::vector<HeldProcess> tree(processes.begin(), processes.end());
  std::vector<UniqueFd> opened;
  // Each is stopped before it is asked for its children, so that none is born unseen.
  for (size_t i = 0; i < tree.size(); ++i) {
    TRY(stop(tree[i].pid, tree[i].pidfd));
    const auto children = sys::children_of(tree[i].pid);
    if (!children) continue;
    for (const pid_t child : *children) {
      if (std::ranges::find(tree, child, &HeldProcess::pid) != tree.end()) continue;
      opened.emplace_back(static_cast<int>(::syscall(SYS_pidfd_open, child, 0)));
      if (opened.back()) tree.push_back({child, opened.back().get()});
    }
  }
  for (const HeldProcess& process : tree) send_signal(process.pidfd, SIGKILL);
  for (const HeldProcess& process : tree) {
    pollfd p = {.fd = process.pidfd, .events = POLLIN, .revents = 0};
    while (::poll(&p, 1, -1) < 0 && errno == EINTR) {
    }
  }
  return {};
}

void say_goodbye(const RemoteOptions& remote, const Fate& fate, std::span<const HeldProcess> processes, pageserver::Client* open) {
  if (!remote.live && !remote.single) return;
  if (fate.revoked) {
    LOG_WARNING("pager: the source of the processes takes them back; they are killed here");
    if (const auto ended = end_processes(processes); !ended) {
      LOG_ERROR("pager: the source is not told that it may go on, as two copies could run: {}", ended.error().what);
      return;
    }
  } else if (fate.gave_up) {
    LOG_ERROR("pager: processes were killed here for lack of pages; the source is not told that all is done, and keeps its own");
    return;
  }
  const auto say = [&](pageserver::Client& client) { return fate.revoked ? client.confirm_revoked(kPatience) : client.done(kPatience); };
  const auto said = [&]() -> Result<void> {
    if (open) return say(*open);
    if (remote.single) return error(ENOTCONN, "its only connection is lost");
    auto client = TRY(pageserver::Client::start(TRY(remote.connect()), remote.client));
    TRY(client.wait_ready(kPatience));
    return say(client);
  }();
  if (!said) LOG_WARNING("pager: the page server {} could not be told what became of the processes: {}", remote.name, said.error().what);
}

}  // namespace faultline::lazy
