#pragma once

#include <atomic>
#include <chrono>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "lazy/disk_reader.h"
#include "lazy/farewell.h"
#include "lazy/fault_server.h"
#include "lazy/remote.h"

namespace faultline::lazy {

enum class Prefetch {
  kNone,        // pages come only when they are touched
  kSequential,  // all pages come in the background, by address
  kRecorded,    // first those of a recording, in its order, then as kSequential
};

// For whoever watches a pager at work.
struct Watch {
  PagerCounters* counters = nullptr;  // in memory that is shared with successors; nullptr: nothing is counted
  std::function<void()> started;      // called in each pager when it serves; it forks no more then, unless its guard dies
  std::function<void()> stopped;      // called before a pager becomes a guard, and forks
  std::function<void()> ended;        // called by the last one, when nothing is left to do
};

struct LoopOptions {
  Prefetch prefetch = Prefetch::kSequential;
  std::vector<std::pair<pid_t, std::vector<PageName>>> recorded;  // for kRecorded: per process
  bool record = false;                                            // note first touches for a later kRecorded
  std::chrono::seconds record_time = std::chrono::seconds(10);
  // Where the descriptors of connections to a page server are noted, for the successor of a killed pager; kMaxConnections of them.
  std::atomic<int>* connections = nullptr;
  bool successor = false;  // of a killed pager
  Fate* fate = nullptr;    // where to tell what became of the processes; needed with a page server
  PagerCounters* counters = nullptr;  // where to count, in memory that outlives a pager; nullptr: nowhere
};

inline constexpr size_t kMaxWorkers = 4, kMaxConnections = 2;

// The threads of a pager. One worker per CPU (at most 4), bound to it: a fault is served by the worker of the CPU where it happened, which
// becomes idle just then, while waking another CPU would take longer than everything else together. One of the workers fills.
// With a page server: one worker for faults, which the kernel lets run where it sees fit, and one that fills.
class FaultLoop {
 public:
  // `memory` and `table` must outlive the loop.
  FaultLoop(const Memory& memory, SpaceTable& table, LoopOptions options);
  ~FaultLoop();
  FaultLoop(const FaultLoop&) = delete;

  // Serves from here on. Errors: those of epoll_create(2), eventfd(2), io_uring_setup(2) and of thread creation.
  Result<void> start();
  // Serves address spaces that were added to the table meanwhile.
  void spaces_changed();
  // Background filling begins only when this has been called (immediately, unless held back before start).
  void hold_fill() { fill_held_ = true; }
  void release_fill();

  // Waits at most `timeout`, or until something has changed or the descriptor `also` (-1: none) is readable. Closes the address spaces of processes that are gone or have all their pages. True when no address space is open.
  bool wait(std::chrono::milliseconds timeout, int also = -1);
  void stop();

  FaultServer& server() { return server_; }
  // The pages that were touched first, by process; also before the loop has ended.
  std::vector<PageName> touched() const { return recorder_.pages(); }
  bool recording() const { return !recorder_.stopped(); }
  void stop_recording() { recorder_.stop(); }
  PagerCounters& counters() { return counters_; }
  // The connection of which there can be only one, if it is still open, after stop().
  pageserver::Client* only_connection();
  // Every process whose pid is known.
  void signal_processes(int signal);
  std::string advice();

 private:
  struct Task {
    Space* space;
    Vaddr address;
    uint64_t since_ns;  // when its message was read
  };
  // Filling of one address space.
  struct FillState {
    FillCursor cursor;
    uint64_t serial = 0;
    uint64_t copied = 0;      // by all, when the pass began
    bool progressed = false;
    bool stuck = false;       // a whole pass brought nothing: what is left cannot be read (a helper: is not worth it)
    Vaddr helped_from = UINT64_MAX;  // a helper has filled from here on
    const std::vector<PageName>* recorded = nullptr;
    size_t next_recorded = 0;
  };
  // What a worker knows of the background fill. One worker fills; the others help it while nobody waits for a page.
  struct Filler {
    bool helps = false;
    std::vector<Space*> spaces;
    std::map<Space*, FillState> states;
    uint64_t version = 0;         // of the table, that `spaces` comes from
    uint64_t demand = 0;          // faults served when last looked at
    unsigned contended = 0;       // chunks that are still to be small
    std::chrono::steady_clock::time_point quiet_since;  // a helper's
  };
  struct Worker {
    int cpu = -1;         // -1: not bound
    bool watches = true;  // the userfaultfds
    Filler filler;
    UniqueFd epoll;
    UniqueFd wake;
    Scratch scratch;
    std::vector<Vaddr> faults;
    std::deque<Task> tasks;    // faults not served yet
    std::vector<Space*> left;  // whose messages are left to another worker, for a moment
    std::chrono::steady_clock::time_point left_since;
    // So long it waits for the page server without sleeping.
    std::chrono::steady_clock::time_point awake_until;
    // Connections to the page server: what somebody waits for is the first worker's, the rest the filling one's, so that the former does not queue
    // behind the latter. A single one is for both.
    std::unique_ptr<RemotePort> urgent, bulk;
    std::thread thread;
  };
  // Above the way there and back, while the background fill runs.
  static constexpr auto kPaceSlack = std::chrono::milliseconds(1);
  enum class FillStep { kProgress, kWait, kNothingToDo };  // kWait: for a disk or a page server

  Result<void> add_worker(int cpu, bool watches);
  void work(Worker& worker);
  // `leave`: what comes now is left to others for kLeave.
  void take_messages(Worker& worker, int timeout_ms, bool leave);
  bool prepare_ahead();
  void drain(Worker& worker, Space& space);
  void serve_tasks(Worker& worker);
  FillStep fill_step(Worker& worker);
  FillStep help(Worker& worker);
  bool needs_help(Worker& worker);
  void look_at_spaces(Filler& filler);
  FillState& state_of(Filler& filler, Space& space);
  FillStep fill_space(Worker& worker, Space& space, FillState& state);
  FillStep fill_recorded(Worker& worker, Space& space, FillState& state);
  FaultServer::Chunk chunk(Filler& filler);
  // Remote pages ---
  void open_ports();
  static RemotePort* bulk_port(Worker& worker);
  RemotePort::Hooks port_hooks(Worker& worker);
  void want_remote(Worker& worker, const Wanted& wanted, const Task& task);
  void take_forwarded();
  bool step_port(Worker& worker, void* port);
  void tick_ports(Worker& worker);
  void flush_ports(Worker& worker);
  bool ports_idle(const Worker& worker) const;
  void page_loss(bool lost);

  void read_done(const std::vector<DiskReader::Waiter>& waiters, int error);
  static void rest();
  void served(const Task& task);
  void kill(Space& space, Vaddr address);
  bool complete(Space& space);
  void forget(Space& space);
  void wake(Worker& worker);
  void signal_done();

  const Memory& memory_;
  SpaceTable& table_;
  LoopOptions options_;
  PagerCounters unseen_ = {};  // where nobody looks
  PagerCounters& counters_;
  Recorder recorder_;
  FaultServer server_;
  DiskReader reader_;
  UniqueFd done_;
  std::atomic<bool> stopping_ = false;
  std::atomic<bool> fill_held_ = false;
  std::atomic<uint64_t> demand_ = 0;  // faults served

  std::mutex registered_mutex_;
  std::map<Space*, int> registered_;  // what the epolls watch
  std::atomic<uint64_t> registered_version_ = 0;

  // Of the filling worker alone: what is made ready for faults before the fill begins, up to here.
  uint32_t ahead_file_ = 0;
  uint64_t ahead_offset_ = 0;
  std::atomic<bool> disk_wait_ = false;
  std::atomic<bool> sequential_ = false;  // recordings are in, what is left comes in the order of addresses
  Worker* main_filler_ = nullptr;         // nullptr: nothing is filled

  // What threads without an urgent connection want of it.
  std::mutex forwarded_mutex_;
  std::vector<std::pair<Wanted, Task>> forwarded_;
  std::mutex lost_mutex_;
  unsigned lost_ports_ = 0;  // connections on which somebody has waited too long
  Pace pace_{kPaceSlack};

  std::vector<std::unique_ptr<Worker>> workers_;
  Worker reader_side_;  // the disk reader's thread serves with this
};

}  // namespace faultline::lazy
