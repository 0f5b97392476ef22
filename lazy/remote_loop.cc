// The part of the fault loop that brings pages from a page server. What somebody waits for has a connection and a worker of its own, so that it does
// not queue behind what nobody waits for. A server that speaks CRIU's protocol takes one connection, which then is for both.
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <mutex>
#include <shared_mutex>

#include "core/base/log.h"
#include "lazy/fault_loop.h"

namespace faultline::lazy {

namespace {

// Taken from a connection between two looks at other work: while faults come, and while none do.
constexpr size_t kContendedBudget = 64 << 10, kQuietBudget = 512 << 10;
constexpr uint64_t kContendedStep = 4, kQuietStep = 64;

}  // namespace

void FaultLoop::open_ports() {
  RemoteOptions& remote = *memory_.remote;
  size_t slot = 0;
  // A predecessor's connection was closed, and its number may mean something else by now: to be left as it is.
  auto open = options_.successor ? nullptr : std::move(remote.first);
  const auto port = [&](Worker& worker) {
    return std::make_unique<RemotePort>(remote, std::move(open), pace_, memory_, server_, port_hooks(worker), worker.epoll.get(), options_.connections[slot++]);
  };
  for (auto& worker : workers_) (worker->watches ? worker->urgent : worker->bulk) = port(*worker);
}

RemotePort* FaultLoop::bulk_port(Worker& worker) { return worker.bulk ? worker.bulk.get() : worker.urgent.get(); }

RemotePort::Hooks FaultLoop::port_hooks(Worker& worker) {
  return {
      .served = [this](const RemotePort::Waiter& waiter) { served({waiter.space, waiter.address, waiter.since_ns}); },
      .again = [&worker](const RemotePort::Waiter& waiter) { worker.tasks.push_back({waiter.space, waiter.address, waiter.since_ns}); },
      .fail = [this](const RemotePort::Waiter& waiter, const std::string& reason) { server_.fail(*waiter.space, waiter.address, reason); },
      .drain =
          [this, &worker] {
            for (Space* space : table_.spaces()) drain(worker, *space);
          },
      .lost = [this](bool lost) { page_loss(lost); },
      .revoked =
          [this] {
            options_.fate->revoked = true;
            signal_done();
          },
  };
}

void FaultLoop::want_remote(Worker& worker, const Wanted& wanted, const Task& task) {
  if (worker.urgent) return worker.urgent->demand(wanted, {task.space, task.address, task.since_ns});
  {
    std::lock_guard lock(forwarded_mutex_);
    forwarded_.emplace_back(wanted, task);
  }
  wake(*workers_.front());
}

void FaultLoop::take_forwarded() {
  std::vector<std::pair<Wanted, Task>> wanted;
  {
    std::lock_guard lock(forwarded_mutex_);
    wanted.swap(forwarded_);
  }
  RemotePort* const port = workers_.front()->urgent.get();
  for (const auto& [what, task] : wanted) port->demand(what, {task.space, task.address, task.since_ns});
  if (!wanted.empty()) port->flush();
}

// Whether the event was a port's.
bool FaultLoop::step_port(Worker& worker, void* port) {
  for (RemotePort* p : {worker.urgent.get(), worker.bulk.get()}) {
    if (p == nullptr || p != port) continue;
    const bool contended = worker.filler.contended != 0;
    // What TLS has unpacked already the epoll does not know of.
    do p->step(contended ? kContendedBudget : kQuietBudget, contended ? kContendedStep : kQuietStep);
    while (p->has_pending());
    return true;
  }
  return false;
}

void FaultLoop::tick_ports(Worker& worker) {
  if (worker.urgent) worker.urgent->tick();
  if (worker.bulk) worker.bulk->tick();
}

void FaultLoop::flush_ports(Worker& worker) {
  if (worker.urgent) worker.urgent->flush();
}

bool FaultLoop::ports_idle(const Worker& worker) const {
  return (!worker.urgent || worker.urgent->idle()) && (!worker.bulk || worker.bulk->idle());
}

pageserver::Client* FaultLoop::only_connection() {
  return memory_.remote->single && workers_.front()->urgent ? workers_.front()->urgent->client() : nullptr;
}

void FaultLoop::page_loss(bool lost) {
  // One connection may have pages again while another still waits: only the first that loses, and the last that has them again, count.
  std::lock_guard lock(lost_mutex_);
  if (lost ? lost_ports_++ != 0 : --lost_ports_ != 0) return;
  set(counters_.state, static_cast<uint64_t>(lost ? PagerState::kSourceLost : PagerState::kServing));
  if (!lost) {
    LOG_WARNING("pager: pages come again; the processes go on");
    return signal_processes(SIGCONT);
  }
  const bool kill = memory_.remote->on_loss == OnPageLoss::kKill;
  if (kill) LOG_ERROR("pager: the processes are killed (--on-page-loss=kill)");
  else LOG_ERROR("pager: the processes are stopped until pages come again (--on-page-loss=stop). {}", advice());
  if (kill) options_.fate->gave_up = true;
  signal_processes(kill ? SIGKILL : SIGSTOP);
  if (!kill) return;
  // Children that the processes forked have no known pid: what they miss becomes deadly to touch.
  uint64_t version;
  do {
    version = table_.version();
    for (Space* space : table_.spaces()) server_.poison(*space, 0, UINT64_MAX - kPageSize);
  } while (version != table_.version());
}

// What to do with processes that were stopped for pages that may never come.
std::string FaultLoop::advice() {
  std::string pids;
  for (Space* space : table_.spaces())
    if (space->pid() > 0) pids += fmt::format(" {}", space->pid());
  if (!memory_.remote->live) return fmt::format("Should the page server not come back, end them: kill -KILL{}", pids);
  return fmt::format("Should their source {} not come back, end them: kill -KILL{}; the processes that were left stopped there may go on then: kill -CONT",
                     memory_.remote->name, pids);
}

void FaultLoop::signal_processes(int signal) {
  for (Space* space : table_.spaces()) {
    std::shared_lock lock(space->lock());
    if (space->open() && space->state().pidfd >= 0) (void)::syscall(SYS_pidfd_send_signal, space->state().pidfd, signal, nullptr, 0);
  }
}

}  // namespace faultline::lazy
