#include "lazy/guard.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <shared_mutex>

#include "core/base/log.h"
#include "core/sys/file_limit.h"
#include "lazy/pager.h"

namespace faultline::lazy {

namespace {

// What guard and pagers tell each other, in the arena.
struct Shared {
  std::atomic<int> ready;  // the descriptor that the first pager that serves writes to and closes: both tables are one
  std::atomic<bool> fed;   // GuardOptions::feed has returned
  Fate fate;
  std::atomic<int> connections[kMaxConnections];  // descriptors of a pager's connections to a page server, or -1
};

using Clock = std::chrono::steady_clock;
constexpr auto kTick = std::chrono::milliseconds(500);
// A pager that dies this often within a second each is not killed by somebody but broken.
constexpr int kQuickDeaths = 16;

void write_recordings(const FaultLoop& loop, const GuardOptions& options) {
  const std::vector<PageName> touched = loop.touched();
  for (const auto& [pid, index] : options.recorded_processes) {
    std::vector<Vaddr> origins;
    for (const PageName& page : touched)
      if (page.index == index) origins.push_back(page.origin);
    if (origins.empty()) continue;
    const auto written = image::write_working_set(options.working_set_dir, image::working_set_name(pid), origins);
    if (!written) LOG_WARNING("pager: the working set of process {} is not recorded: {}", pid, written.error().what);
  }
}

// A connection of a pager that was killed. The number may have come to mean a userfaultfd since, which must not be closed.
void close_connection(int fd) {
  struct stat st;
  if (fd >= 0 && ::fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode)) ::close(fd);
}

// How much of the memory is in place.
void tell_progress(SpaceTable& table, PagerCounters& counters) {
  uint64_t missing = 0, processes = 0;
  for (Space* space : table.spaces()) {
    std::shared_lock lock(space->lock());
    if (!space->open()) continue;
    ++processes;
    missing += space->missing_pages();
  }
  const uint64_t arrived = get(counters.pages_demand) + get(counters.pages_bulk) + get(counters.pages_recorded);
  // What is given up before it comes is not missed: so the sum is what it was at the beginning, or what is known to be wanted.
  if (get(counters.pages_total) == 0) set(counters.pages_total, missing + arrived);
  set(counters.pages_present, get(counters.pages_total) - std::min(missing, get(counters.pages_total)));
  set(counters.processes, processes);
}

// Whether the restore died before it let the processes run. Waits for its word, or its end, for so long (ms; -1: for ever).
bool never_let_go(int pipe, int patience) {
  if (pipe < 0) return false;
  pollfd p = {.fd = pipe, .events = POLLIN, .revents = 0};
  while (::poll(&p, 1, patience) < 0 && errno == EINTR) {
  }
  // The byte is never taken out, so that a successor sees it too.
  return (p.revents & (POLLHUP | POLLIN)) == POLLHUP;
}

enum class Served { kAll, kGuardGone };

// Serves until nothing is left to do, or until the guard is gone: then nothing is served any more, and all threads but this one have ended.
Result<Served> run_pager(const Memory& memory, SpaceTable& table, const GuardOptions& options, bool successor, pid_t guard_pid, Shared& shared) {
  (void)::prctl(PR_SET_NAME, "faultline-pager");
  LoopOptions loop_options = options.loop;
  // A successor has not seen the beginning, and a recording of the rest would replace a good one.
  if (successor) loop_options.record = false;
  loop_options.successor = successor;
  loop_options.counters = options.watch.counters;
  loop_options.connections = shared.connections;
  loop_options.fate = &shared.fate;
  // Both tables are one, so that its connections have outlived the predecessor.
  for (std::atomic<int>& fd : shared.connections)
    close_connection(fd.exchange(-1));
  FaultLoop loop(memory, table, std::move(loop_options));
  const bool feed = options.feed && !shared.fed;
  if (feed && successor) return error(EPIPE, "the pager before this one was killed while it took the processes over");
  if (successor) TRY(table.take_over());
  if (feed) loop.hold_fill();
  TRY(loop.start());
  // Killed after the write, the successor writes a second byte, which nobody reads.
  if (const int fd = shared.ready.load(); fd >= 0) {
    (void)!::write(fd, "", 1);
    shared.ready = -1;
    ::close(fd);
  }
  if (feed) {
    TRY(options.feed(loop));
    shared.fed = true;
    LOG_INFO("pager: all processes were handed over");
    loop.release_fill();
  }
  if (options.watch.started) options.watch.started();
  PagerCounters& counters = loop.counters();
  if (successor) count(counters.successors);
  set(counters.state, static_cast<uint64_t>(PagerState::kServing));
  const UniqueFd guard(static_cast<int>(::syscall(SYS_pidfd_open, guard_pid, 0)));
  bool guarded = static_cast<bool>(guard) && ::getppid() == guard_pid;
  const auto record_end = Clock::now() + options.loop.record_time;
  bool recording = loop.recording();
  tell_progress(table, counters);
  while (guarded && !shared.fate.revoked && !never_let_go(options.let_go, 0) && !loop.wait(kTick, guard.get())) {
    tell_progress(table, counters);
    pollfd p = {.fd = guard.get(), .events = POLLIN, .revents = 0};
    guarded = ::poll(&p, 1, 0) == 0;
    if (recording && Clock::now() >= record_end) {
      loop.stop_recording();
      write_recordings(loop, options);
      recording = false;
    }
  }
  loop.stop();
  if (recording) write_recordings(loop, options);
  if (!guarded) {
    if (options.watch.stopped) options.watch.stopped();
    return Served::kGuardGone;
  }
  tell_progress(table, counters);
  if (!shared.fate.revoked) shared.fate.never_let_go = never_let_go(options.let_go, -1);
  set(counters.state, static_cast<uint64_t>(shared.fate.revoked || shared.fate.gave_up || shared.fate.never_let_go ? PagerState::kFailed : PagerState::kComplete));
  LOG_INFO("pager: done, {} pages were put in", loop.server().copied());
  if (memory.remote != nullptr) say_goodbye(*memory.remote, shared.fate, options.tree, loop.only_connection());
  if (options.watch.ended) options.watch.ended();
  return Served::kAll;
}

// fork(), but with one descriptor table for both, so that a descriptor that one opens is open in the other.
pid_t fork_sharing_files() { return static_cast<pid_t>(::syscall(SYS_clone, CLONE_FILES | SIGCHLD, nullptr, nullptr, nullptr, nullptr)); }

// What the pager and the guard do not need must not be kept open by them: a pipe whose reader waits for its end, for example.
void close_other_fds(SpaceTable& table, std::vector<int> keep) {
  for (Space* space : table.spaces()) {
    keep.push_back(space->fd().get());
    if (space->state().pidfd >= 0) keep.push_back(space->state().pidfd);
  }
  const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  for (int fd = 0; fd <= 2; ++fd)
    if (std::find(keep.begin(), keep.end(), fd) == keep.end()) {
      ::dup2(null, fd);
      keep.push_back(fd);
    }
  std::sort(keep.begin(), keep.end());
  unsigned from = 0;
  for (const int fd : keep) {
    if (fd < 0 || static_cast<unsigned>(fd) < from) continue;
    if (static_cast<unsigned>(fd) > from) (void)::close_range(from, static_cast<unsigned>(fd) - 1, 0);
    from = static_cast<unsigned>(fd) + 1;
  }
  (void)::close_range(from, ~0u, 0);
}

void kill_processes(const Memory& memory, SpaceTable& table) {
  (void)table.take_over();
  Recorder recorder(false);
  PagerCounters counters = {};
  FaultServer server(memory, table, recorder, counters, [](Space&, Vaddr, const std::string&) {});
  for (Space* space : table.spaces()) {
    LOG_ERROR("guard: process {} is killed: its memory is incomplete and the pager cannot be replaced", space->pid());
    if (space->state().pidfd >= 0) (void)::syscall(SYS_pidfd_send_signal, space->state().pidfd, SIGKILL, nullptr, 0);
    // Children that the processes forked have no known pid: what they miss becomes deadly to touch.
    server.poison(*space, 0, UINT64_MAX - kPageSize);
  }
}

[[noreturn]] void run_guard(const Memory& memory, SpaceTable& table, const GuardOptions& options, Shared& shared) {
  (void)::setsid();
  (void)::prctl(PR_SET_NAME, "faultline-guard");
  (void)::signal(SIGPIPE, SIG_IGN);
  (void)sys::raise_file_limit();
  std::vector<int> keep = options.keep_fds;
  keep.push_back(shared.ready);
  keep.push_back(options.working_set_dir);
  keep.push_back(options.let_go);
  for (const HeldProcess& process : options.tree.processes) keep.push_back(process.pidfd);
  if (options.tree.reaper) keep.push_back(options.tree.reaper->pidfd);
  if (memory.remote != nullptr && memory.remote->first) keep.push_back(memory.remote->first->fd());
  close_other_fds(table, std::move(keep));
  int quick_deaths = 0;
  for (bool successor = false;; successor = true) {
    const auto begun = Clock::now();
    const pid_t self = ::getpid();
    const pid_t pid = fork_sharing_files();
    if (pid == 0) {
      const auto served = run_pager(memory, table, options, successor, self, shared);
      if (served && *served == Served::kGuardGone) {
        LOG_WARNING("pager: its guard was killed; it is the guard now, and has a new pager");
        (void)::prctl(PR_SET_NAME, "faultline-guard");
        continue;
      }
      if (!served) LOG_ERROR("pager: {}", served.error().what);
      ::_exit(served ? 0 : 1);
    }
    int status = 0;
    while (pid > 0 && ::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    if (pid > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0) ::_exit(0);
    quick_deaths = Clock::now() - begun < std::chrono::seconds(1) ? quick_deaths + 1 : 0;
    if (pid < 0 || quick_deaths == kQuickDeaths || WIFEXITED(status)) break;
    LOG_WARNING("guard: the pager was killed by signal {} and is replaced", WTERMSIG(status));
  }
  if (options.watch.counters) set(options.watch.counters->state, static_cast<uint64_t>(PagerState::kFailed));
  kill_processes(memory, table);
  if (options.watch.ended) options.watch.ended();
  ::_exit(1);
}

}  // namespace

Result<pid_t> start_guard(const Memory& memory, SpaceTable& table, const GuardOptions& options) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return sys_error("pager: cannot create a pipe");
  UniqueFd ready(ends[0]), tell(ends[1]);
  Shared& shared = *table.arena().at<Shared>(TRY(table.arena().allocate(sizeof(Shared))));
  for (std::atomic<int>& fd : shared.connections) fd = -1;
  const pid_t pid = ::fork();
  if (pid < 0) return sys_error("pager: cannot fork");
  if (pid == 0) {
    ready.reset();
    shared.ready = tell.release();
    run_guard(memory, table, options, shared);
  }
  tell.reset();
  char byte;
  ssize_t n;
  while ((n = ::read(ready.get(), &byte, 1)) < 0 && errno == EINTR) {
  }
  if (n == 1) return pid;
  int status;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return error(EIO, "the pager could not be started; its log says why");
}

}  // namespace faultline::lazy
