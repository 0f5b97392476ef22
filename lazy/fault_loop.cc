#include "lazy/fault_loop.h"

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <system_error>

#include "core/base/log.h"
#include "core/base/scope_exit.h"
#include "core/sys/time_slice.h"

namespace faultline::lazy {

namespace {

// How long the filling worker leaves a fault to the worker of the CPU where it happened: it is being scheduled just then (some 3 µs),
// and may wait for the lock.
constexpr auto kLeave = std::chrono::microseconds(30);
// After something has come, a page server is waited for without sleeping: waking an idle virtual processor takes 50 to 75 µs. Whoever else
// wants to run here goes first.
constexpr auto kAwake = std::chrono::microseconds(200);
constexpr long kRest_ns = 500'000;
constexpr int kHelperTickMs = 2;  // how often a helper of the fill looks whether it is wanted

void notify(int fd) {
  const uint64_t one = 1;
  (void)!::write(fd, &one, sizeof one);
}

uint64_t now_ns() {
  timespec t;
  ::clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<uint64_t>(t.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(t.tv_nsec);
}

void forget_notice(int fd) {
  uint64_t count;
  (void)!::read(fd, &count, sizeof count);
}

std::vector<int> allowed_cpus() {
  cpu_set_t set;
  std::vector<int> cpus;
  if (::sched_getaffinity(0, sizeof set, &set) == 0)
    for (int cpu = 0; cpu < CPU_SETSIZE && cpus.size() < kMaxWorkers; ++cpu)
      if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
  if (cpus.empty()) cpus.push_back(-1);
  return cpus;
}

}  // namespace

FaultLoop::FaultLoop(const Memory& memory, SpaceTable& table, LoopOptions options)
    : memory_(memory),
      table_(table),
      options_(std::move(options)),
      counters_(options_.counters ? *options_.counters : unseen_),
      recorder_(options_.record),
      server_(memory, table, recorder_, counters_, [this](Space& space, Vaddr address, const std::string&) { kill(space, address); }),
      reader_(memory, [this](const std::vector<DiskReader::Waiter>& waiters, int error) { read_done(waiters, error); },
              [this] {
                disk_wait_ = false;
                if (main_filler_) wake(*main_filler_);
              }) {}

FaultLoop::~FaultLoop() { stop(); }

Result<void> FaultLoop::add_worker(int cpu, bool watches) {
  auto worker = std::make_unique<Worker>();
  worker->cpu = cpu;
  worker->watches = watches;
  worker->epoll = UniqueFd(::epoll_create1(EPOLL_CLOEXEC));
  worker->wake = UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!worker->epoll || !worker->wake) return sys_error("pager: cannot create the descriptors of a worker");
  epoll_event event = {.events = EPOLLIN, .data = {.ptr = nullptr}};
  if (::epoll_ctl(worker->epoll.get(), EPOLL_CTL_ADD, worker->wake.get(), &event) != 0) return sys_error("pager: cannot watch an eventfd");
  workers_.push_back(std::move(worker));
  return {};
}

Result<void> FaultLoop::start() {
  done_ = UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!done_) return sys_error("pager: cannot create an eventfd");
  const bool remote = memory_.remote != nullptr;
  if (remote) TRY(add_worker(-1, true));
  else
    for (const int cpu : allowed_cpus()) TRY(add_worker(cpu, true));
  // What a page server sends in the background is a worker's of its own: who serves faults must not have to wait for its turn to end.
  if (remote && !memory_.remote->single && options_.prefetch != Prefetch::kNone) TRY(add_worker(-1, false));
  if (options_.prefetch != Prefetch::kNone) {
    main_filler_ = workers_.back().get();
    for (auto& worker : workers_) worker->filler.helps = worker.get() != main_filler_ && !remote;
  }
  TRY(reader_.start());
  if (remote) open_ports();
  spaces_changed();
  try {
    for (auto& worker : workers_) worker->thread = std::thread([this, w = worker.get()] { work(*w); });
  } catch (const std::system_error& e) {
    stop();
    return error(e.code().value(), "pager: cannot start a worker: {}", e.what());
  }
  return {};
}

void FaultLoop::stop() {
  stopping_ = true;
  for (auto& worker : workers_) wake(*worker);
  for (auto& worker : workers_)
    if (worker->thread.joinable()) worker->thread.join();
  reader_.stop();
}

void FaultLoop::wake(Worker& worker) {
  if (worker.wake) notify(worker.wake.get());
}

void FaultLoop::release_fill() {
  fill_held_ = false;
  for (auto& worker : workers_) wake(*worker);
}

void FaultLoop::spaces_changed() {
  const uint64_t version = table_.version();
  for (Space* space : table_.spaces()) {
    // It may be closed by now, and its place taken by another: what is open under the lock is what is watched.
    std::shared_lock space_lock(space->lock());
    if (!space->open()) continue;
    std::lock_guard lock(registered_mutex_);
    if (registered_.contains(space)) continue;
    const int fd = space->fd().get();
    epoll_event event = {.events = EPOLLIN | EPOLLET, .data = {.ptr = space}};
    for (auto& worker : workers_)
      if (worker->watches && ::epoll_ctl(worker->epoll.get(), EPOLL_CTL_ADD, fd, &event) != 0)
        LOG_ERROR("pager: cannot watch the userfaultfd of process {}: {}", space->pid(), errno_text(errno));
    registered_[space] = fd;
  }
  registered_version_ = version;
  if (main_filler_) wake(*main_filler_);
}

// With the space's lock held exclusively, before its descriptor is closed: the number may be used again at once.
void FaultLoop::forget(Space& space) {
  std::lock_guard lock(registered_mutex_);
  const auto it = registered_.find(&space);
  if (it == registered_.end()) return;
  for (auto& worker : workers_) (void)::epoll_ctl(worker->epoll.get(), EPOLL_CTL_DEL, it->second, nullptr);
  registered_.erase(it);
}

bool FaultLoop::complete(Space& space) {
  std::shared_lock lock(space.lock());
  return space.open() && !space.next_gap(0, 1);
}

void FaultLoop::signal_done() { notify(done_.get()); }

void FaultLoop::work(Worker& worker) {
  // Short turns for who serves faults of a page server's pages, so that they are let in before the background fill, which has long ones.
  if (memory_.remote != nullptr && worker.watches) sys::short_time_slice();
  if (worker.cpu >= 0) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(worker.cpu, &set);
    // Without it everything works, slower.
    (void)::pthread_setaffinity_np(::pthread_self(), sizeof set, &set);
  }
  const bool fills = &worker == main_filler_;
  bool fill_more = fills, watch = worker.filler.helps;
  while (!stopping_.load(std::memory_order_relaxed)) {
    const bool busy = fill_more || !worker.tasks.empty() || !worker.left.empty();
    // While filling, a fault is first left to the worker of the CPU where it happened: if it were served from here, the faulting thread
    // would have to be woken across CPUs.
    const int patience = watch ? kHelperTickMs : ports_idle(worker) ? -1 : static_cast<int>(RemotePort::kTick.count());
    const bool awake = !ports_idle(worker) && std::chrono::steady_clock::now() < worker.awake_until;
    take_messages(worker, busy || awake ? 0 : patience, fills && fill_more && workers_.size() > 1);
    if (awake && !busy) ::sched_yield();
    serve_tasks(worker);
    tick_ports(worker);
    if (disk_wait_.load() || fill_held_.load()) fill_more = false;
    else if (fills) fill_more = fill_step(worker) == FillStep::kProgress;
    else fill_more = (watch = needs_help(worker)) && help(worker) == FillStep::kProgress;
    if (worker.bulk && !fill_more) worker.bulk->flush();
    if (worker.bulk && worker.filler.contended != 0) rest();
  }
}

void FaultLoop::take_messages(Worker& worker, int timeout_ms, bool leave) {
  const bool due = !worker.left.empty() && (!leave || std::chrono::steady_clock::now() - worker.left_since >= kLeave);
  if (due)
    for (Space* space : std::exchange(worker.left, {})) drain(worker, *space);
  epoll_event events[16];
  const int n = ::epoll_wait(worker.epoll.get(), events, 16, timeout_ms);
  if (n > 0 && (worker.urgent || worker.bulk)) worker.awake_until = std::chrono::steady_clock::now() + kAwake;
  for (int i = 0; i < n; ++i) {
    auto* const space = static_cast<Space*>(events[i].data.ptr);
    if (space == nullptr) {
      forget_notice(worker.wake.get());
      if (worker.urgent) take_forwarded();
    } else if (step_port(worker, events[i].data.ptr)) {
      continue;
    } else if (leave) {
      if (worker.left.empty()) worker.left_since = std::chrono::steady_clock::now();
      if (std::find(worker.left.begin(), worker.left.end(), space) == worker.left.end()) worker.left.push_back(space);
    } else {
      drain(worker, *space);
    }
  }
}

void FaultLoop::drain(Worker& worker, Space& space) {
  worker.faults.clear();
  // All of them: the epoll tells of new messages only (EPOLLET).
  while (server_.drain(space, worker.faults) == SpaceState::kJournal) {
  }
  if (!worker.faults.empty()) {
    const uint64_t now = now_ns();
    count(counters_.faults, worker.faults.size());
    for (const Vaddr address : worker.faults) worker.tasks.push_back({&space, address, now});
  }
  if (table_.version() != registered_version_.load()) spaces_changed();
}

void FaultLoop::serve_tasks(Worker& worker) {
  size_t retries = 0;
  const ScopeExit sends([&] { flush_ports(worker); });
  while (!worker.tasks.empty()) {
    const Task task = worker.tasks.front();
    worker.tasks.pop_front();
    Wanted wanted = {};
    switch (server_.serve(*task.space, task.address, worker.scratch, wanted)) {
      case FaultServer::Outcome::kDone: served(task); break;
      case FaultServer::Outcome::kGone: break;
      case FaultServer::Outcome::kWaiting: {
        if (wanted.remote()) {
          want_remote(worker, wanted, task);
          break;
        }
        const DiskReader::Waiter waiter = {task.space, task.address, task.since_ns};
        reader_.want(wanted, &waiter);
        break;
      }
      case FaultServer::Outcome::kRetry:
        worker.tasks.push_back(task);
        drain(worker, *task.space);
        // The process that caused the event must get to run before copies are accepted again, perhaps on this CPU.
        if (++retries > worker.tasks.size()) {
          ::sched_yield();
          return;
        }
    }
  }
}

void FaultLoop::read_done(const std::vector<DiskReader::Waiter>& waiters, int error) {
  for (const DiskReader::Waiter& waiter : waiters) {
    if (error != 0)
      server_.fail(*waiter.space, waiter.address, errno_text(error));
    else
      reader_side_.tasks.push_back({waiter.space, waiter.address, waiter.since_ns});
  }
  while (!reader_side_.tasks.empty()) serve_tasks(reader_side_);
}

// While faults come, the background fill leaves the processors to them, here and at the server, which sends no more than was asked for.
void FaultLoop::rest() {
  const timespec time = {.tv_sec = 0, .tv_nsec = kRest_ns};
  (void)::nanosleep(&time, nullptr);
}

void FaultLoop::served(const Task& task) {
  demand_.fetch_add(1, std::memory_order_relaxed);
  counters_.fault.add(now_ns() - task.since_ns);
}

void FaultLoop::kill(Space& space, Vaddr address) {
  if (options_.fate) options_.fate->gave_up = true;
  {
    std::shared_lock lock(space.lock());
    if (!space.open()) return;
    // The process first; and, as the kernel does not tell the pid of a forked child, the page itself becomes deadly.
    const int pidfd = space.state().pidfd;
    if (pidfd >= 0) (void)::syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, nullptr, 0);
  }
  server_.poison(space, address, address + kPageSize);
}

bool FaultLoop::wait(std::chrono::milliseconds timeout, int also) {
  const timespec time = {.tv_sec = timeout.count() / 1000, .tv_nsec = timeout.count() % 1000 * 1000000};
  pollfd both[] = {{.fd = done_.get(), .events = POLLIN, .revents = 0}, {.fd = also, .events = POLLIN, .revents = 0}};
  if (::ppoll(both, 2, &time, nullptr) > 0 && both[0].revents) forget_notice(done_.get());
  // Closed only from here: this thread is bound to no CPU, so that it can go where it is not in the way (see Space::close).
  for (Space* space : table_.spaces()) {
    std::unique_lock lock(space->lock());
    if (!space->open()) continue;
    const bool gone = !space->fd().alive();
    if (!gone && space->next_gap(0, 1)) continue;
    LOG_INFO("pager: process {}{}", space->pid(), gone ? " is gone" : ": all pages are in place");
    forget(*space);
    table_.close(*space);
  }
  return table_.spaces().empty();
}

}  // namespace faultline::lazy
