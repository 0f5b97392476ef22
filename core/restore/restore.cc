#include "core/restore/restore.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <map>

#include "core/base/log.h"
#include "core/restore/births.h"
#include "core/restore/early_pages.h"
#include "core/restore/exit_pages.h"
#include "core/restore/fault_socket.h"
#include "core/restore/pidns.h"
#include "core/restore/plan.h"
#include "core/restore/shared_memory.h"
#include "core/restore/signals_blocked.h"
#include "core/restore/takeover.h"
#include "core/sys/file_limit.h"

namespace faultline::restore {

namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kLeaderStack = 4096;
constexpr std::chrono::milliseconds kLookEvery{50};  // for processes that died
// For so long, pages of a recording are put in before the first instruction, some 200. The pager goes on with them beside it: a redis that
// waited for 2048 pages (12 ms) answered later than one that had none.
constexpr std::chrono::microseconds kRecordedAtOnce{1000};

uint64_t microseconds_since(Clock::time_point since) {
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - since).count());
}

// A living process in the making.
struct Making {
  const image::Task* task;
  TaskPrograms programs;
  Vaddr leader_at = 0;
  std::vector<Vaddr> threads_at;
  UniqueFd uffd;
  bool forwarded = false;  // to a lazy-pages daemon
};

class Coordinator {
 public:
  Coordinator(const image::ImageDir& dir, const Settings& settings, const Hooks& hooks, Plan& plan) : dir_(dir), settings_(settings), hooks_(hooks), plan_(plan) {}
  ~Coordinator() {
    if (births_ && !succeeded_) {
      if (namespace_) namespace_->kill();
      else births_->kill_all();
      if (takeover_) takeover_->bury();
      if (namespace_) namespace_->reap();
      else births_->reap_all();
    }
  }

  Result<Restored> run() {
    const auto begin = Clock::now();
    ::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    TRY(prepare_region());
    if (settings_.work_dir >= 0 && settings_.lazy) daemon_ = TRY(lazy::DaemonConnection::open(settings_.work_dir, plan_.first_fd()));
    TRY(connect());
    TRY(open_files());
    LOG_DEBUG("restore: files are open");
    TRY(make_all_programs());
    LOG_DEBUG("restore: programs are ready, {} bytes", region_->used());
    births_.emplace(plan_.tree(), *region_, program_addresses());
    TRY(births_->prepare());
    Restored restored{};
    if (settings_.new_pidns) {
      namespace_.emplace();
      restored.root = TRY(namespace_->begin(*births_));
    } else {
      restored.root = TRY(births_->begin(settings_.sibling));
    }
    TRY(wait_until_ready());
    LOG_DEBUG("restore: {} processes and {} threads are in place", making_.size(), plan_.thread_count());
    restored.ends_with = restored.root;
    if (namespace_) restored.root = TRY(namespace_->learn_pids(plan_.checkpoint().tasks.front().pid()));
    restored.stats.forking_time = static_cast<uint32_t>(microseconds_since(begin));
    TRY(receive_faults());
    plan_.files().close_all();
    pages_fds_.clear();
    early_.reset();
    TRY(switch_over(restored));
    restored.stats.pages_restored = early_pages(plan_.checkpoint(), settings_.lazy);
    restored.stats.restore_time = static_cast<uint32_t>(microseconds_since(begin));
    return restored;
  }

 private:
  pid_t outer(pid_t pid) const { return namespace_ ? namespace_->outer(pid) : pid; }

  Result<void> prepare_region() {
    std::vector<Range> taken = plan_.used_ranges();
    for (const sys::Area& area : TRY(sys::read_maps(::getpid()))) {
      taken.push_back({area.start, area.end});
      if (area.name == "[vdso]" || area.name.starts_with("[vvar")) special_.push_back(area);
    }
    size_t size = 8 << 20;
    for (const image::Task& task : plan_.checkpoint().tasks)
      if (task.mm) size += (task.mm->vmas.size() * 4 + task.pagemap.entries.size() + task.fds.size() * 4) * 128 + task.tree.threads.size() * 32768 + (256 << 10);
    region_ = TRY(Region::make(page_up(size), std::move(taken)));
    region_->barrier()->opened = kReady + 1;  // threads report there, but need not wait for each other
    return {};
  }

  // To the page server, if pages are there, before the first process exists.
  Result<void> connect() {
    if (!any_remote(plan_.checkpoint(), daemon_.has_value())) return {};
    if (!settings_.remote)
      return error(ENOTSUP, "{}: memory is not in the images but with the host of the dump; add --page-server --address HOST --port PORT", dir_.name());
    remote_ = settings_.remote;
    return remote_->first ? Result<void>() : remote_->connect_first();
  }

  Result<void> open_files() {
    (void)sys::raise_file_limit();
    first_fd_ = plan_.first_fd();
    TRY(plan_.files().open_all(first_fd_));
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, ends) < 0) return sys_error("a socket for the userfaultfds");
    UniqueFd first(ends[0]), second(ends[1]);
    faults_in_ = TRY(move_up(std::move(first)));
    faults_out_ = TRY(move_up(std::move(second)));
    if (remote_) early_ = TRY(FetchedEarly::fetch(*remote_, plan_.checkpoint(), first_fd_));
    // A daemon knows of private memory only: so does the protocol.
    shared_.emplace(dir_, plan_.checkpoint(), settings_.lazy && !daemon_);
    for (const auto& [shmid, fd] : plan_.files().shared_objects()) TRY(shared_->fill(shmid, fd, remote_));
    return plan_.files().seal();
  }

  Result<UniqueFd> move_up(UniqueFd fd) const {
    UniqueFd up(::fcntl(fd.get(), F_DUPFD_CLOEXEC, first_fd_));
    if (!up) return sys_error("descriptors from {} on are needed (is the limit of open files too low?)", first_fd_);
    return up;
  }

  Result<void> make_all_programs() {
    for (const image::Task& task : plan_.checkpoint().tasks)
      if (!task.dead()) TRY(make_one(task));
    return {};
  }

  Result<void> make_one(const image::Task& task) {
    Making& making = making_.emplace_back(Making{&task, {}, 0, {}, {}});
    ProgramContext context;
    context.space = {region_->range(), special_, [this](uint32_t id) { return plan_.files().fd_of(id); }, &*shared_};
    context.barrier = region_->address(region_->barrier());
    context.first_fd = first_fd_;
    context.fault_socket = faults_out_.get();
    context.token = static_cast<uint32_t>(making_.size() - 1);
    if (std::ranges::any_of(task.pagemap.entries, [](const image::PagemapEntry& e) { return *e.flags & image::kPagePresent; })) {
      pages_fds_.push_back(TRY(move_up(TRY(dir_.open_file(fmt::format("pages-{}.img", task.pagemap.pages_id), O_RDONLY)))));
      context.pages_fd = pages_fds_.back().get();
    }
    if (early_) context.space.early = &early_->of(task.pid());
    context.place_thread = [&](const agent::Program& program) -> Result<std::pair<Vaddr, Vaddr>> {
      const Vaddr stack = TRY(region_->take(kThreadStack));
      making.threads_at.push_back(TRY(region_->put(program)));
      return std::pair(making.threads_at.back(), stack);
    };
    making.programs = TRY(make_programs(plan_, plan_.files(), task, context));
    TRY(region_->take(kLeaderStack));  // enter_agent's stack ends where the program begins
    making.leader_at = TRY(region_->put(making.programs.leader));
    return {};
  }

  std::vector<Vaddr> program_addresses() const {
    std::vector<Vaddr> addresses;
    for (const Birth& birth : plan_.tree().births) {
      const auto found = std::find_if(making_.begin(), making_.end(), [&](const Making& m) { return m.task == birth.task; });
      addresses.push_back(birth.role == Role::kTask && found != making_.end() ? found->leader_at : 0);
    }
    return addresses;
  }

  Result<void> wait_until_ready() {
    agent::Barrier* barrier = region_->barrier();
    const uint32_t wanted = plan_.thread_count();
    for (;;) {
      if (__atomic_load_n(&barrier->failed, __ATOMIC_SEQ_CST) > 0) return first_failure();
      const uint32_t arrived = __atomic_load_n(&barrier->arrived[kReady], __ATOMIC_SEQ_CST);
      if (arrived == wanted) return {};
      // A daemon gets each userfaultfd at once: what the kernel touches for the threads may be with its page server.
      if (daemon_) TRY(forward_faults());
      const timespec patience = {0, daemon_ ? 1'000'000 : 50'000'000};
      const long woken = ::syscall(SYS_futex, &barrier->arrived[kReady], FUTEX_WAIT, arrived, &patience, nullptr, 0);
      if (woken < 0 && errno == ETIMEDOUT) TRY(look_for_deaths());
    }
  }

  // A process that was killed from outside, for want of memory for instance, would be waited for in vain; most are not our children.
  Result<void> look_for_deaths() {
    if (Clock::now() - looked_ < kLookEvery) return {};
    looked_ = Clock::now();
    return namespace_ ? namespace_->alive() : births_->alive();
  }

  Result<void> first_failure() {
    const Trouble* trouble = region_->trouble();
    if (trouble->set == 2) return error(trouble->code, "pid {}: {}", trouble->pid, trouble->what);
    for (Making& making : making_) {
      const auto look = [&](agent::Program& program, Vaddr at, uint32_t tid) -> Result<void> {
        const auto* header = reinterpret_cast<const agent::ProgramHeader*>(at);
        if (__atomic_load_n(reinterpret_cast<const uint32_t*>(&header->state), __ATOMIC_SEQ_CST) != static_cast<uint32_t>(agent::State::kFailed)) return {};
        auto failed = program.take_results(region_->bytes(at, program.size()));
        if (!failed) return wrap(failed.error(), "thread {} of pid {}", tid, making.task->pid());
        return {};
      };
      TRY(look(making.programs.leader, making.leader_at, making.task->tree.pid));
      for (size_t i = 0; i < making.threads_at.size(); ++i) TRY(look(making.programs.threads[i], making.threads_at[i], making.task->tree.threads[i + 1]));
    }
    return error(EIO, "a process of the tree failed while it was restored");
  }

  Result<void> receive_faults() {
    while (TRY(receive_fault())) {}
    for (const Making& making : making_)
      if (!making.programs.ranges.empty() && !making.uffd) return error(EBADMSG, "the userfaultfd of pid {} is missing", making.task->pid());
    return {};
  }

  // Takes one userfaultfd that has come; nullptr if none has.
  Result<Making*> receive_fault() {
    auto sent = TRY(receive_userfaultfd(faults_in_.get()));
    if (!sent) return static_cast<Making*>(nullptr);
    if (sent->first >= making_.size()) return error(EBADMSG, "a userfaultfd of nobody");
    making_[sent->first].uffd = std::move(sent->second);
    return &making_[sent->first];
  }

  // The rest is told by hand_to_daemon().
  Result<void> forward_faults() {
    while (Making* const making = TRY(receive_fault())) {
      TRY(daemon_->send(making->task->pid(), making->uffd.get()));
      making->forwarded = true;
    }
    return {};
  }

  Result<void> switch_over(Restored& restored) {
    lazy::Pager pager;
    if (remote_) pager.set_remote(*remote_);
    if (daemon_) TRY(hand_to_daemon(*daemon_));
    else TRY(hand_to_pager(pager));
    if (settings_.lazy) TRY(bring_exit_pages(pager));
    else TRY(pager.fill_everything(hooks_.progress));
    LOG_DEBUG("restore: memory is handed over");
    std::vector<Parked> parked;
    for (const Making& making : making_) parked.push_back(park(making));
    takeover_.emplace(*region_, plan_.checkpoint(), [this](pid_t pid) { return outer(pid); });
    TRY(takeover_->prepare(parked));
    LOG_DEBUG("restore: final registers are set");
    if (hooks_.post_restore) TRY(hooks_.post_restore(restored.root));
    // From here on ours is the copy that runs.
    if (remote_ && !daemon_) TRY(remote_->commit());
    if (settings_.lazy && !daemon_) restored.pager = TRY(start_pager(pager));
    LOG_DEBUG("restore: page faults are served");
    TRY(takeover_->outlive_us());
    // Not before: were we killed in between, the pager would take the end of processes that have never run for the end of the program.
    if (daemon_) TRY(daemon_->finish());
    if (let_go_) TRY(write_all(let_go_.get(), "", 1, "the pipe to the pager"));
    succeeded_ = true;
    TRY(takeover_->release(settings_.leave_stopped));
    LOG_INFO("restore: pid {} runs", restored.root);
    if (remote_ && !restored.pager && !daemon_)
      if (const auto said = remote_->first->done(remote_->page_timeout); !said) LOG_WARNING("restore: the source could not be told that all is done: {}", said.error().what);
    if (hooks_.resumed) hooks_.resumed();
    return {};
  }

  Parked park(const Making& making) const {
    Parked parked{making.task, {}};
    for (size_t i = 0; i < making.programs.calls.size(); ++i) {
      const auto& call = making.programs.calls[i];
      const Vaddr at = i == 0 ? making.leader_at : making.threads_at[i - 1];
      if (call) parked.calls.push_back(Parked::Call{reinterpret_cast<const agent::ProgramHeader*>(at), call->index});
      else parked.calls.push_back({});
    }
    return parked;
  }

  Result<void> hand_to_daemon(lazy::DaemonConnection& daemon) {
    for (const image::Task& task : plan_.checkpoint().tasks) {
      const auto making = std::find_if(making_.begin(), making_.end(), [&](const Making& m) { return m.task == &task; });
      if (making != making_.end() && making->forwarded) continue;
      if (making != making_.end() && making->uffd) TRY(daemon.send(task.pid(), making->uffd.get()));
      else TRY(daemon.send_zombie(task.pid()));
    }
    // Should the daemon die, whoever waits for a page goes on, and finish() tells that it is dead.
    for (Making& making : making_) making.uffd.reset();
    return {};
  }

  Result<void> bring_exit_pages(lazy::Pager& pager) {
    ExitPages pages([&](std::span<const ExitPages::Page> wanted) -> Result<void> {
      if (!daemon_) return pager.install(wanted);
      wait_for_pages(wanted);
      return {};
    });
    for (const Making& making : making_)
      if (!making.programs.ranges.empty()) TRY(pages.add(*making.task, outer(making.task->pid())));
    return pages.finish();
  }

  Result<void> hand_to_pager(lazy::Pager& pager) {
    std::map<uint32_t, uint32_t> objects;  // shmid → index
    for (const uint32_t shmid : shared_->late_objects()) objects[shmid] = TRY(pager.add_shared_memory(dir_, shmid));
    std::vector<uint32_t> indexes;
    for (const Making& making : making_)
      indexes.push_back(making.uffd ? TRY(pager.add_task_memory(dir_, making.task->tree.pid)) : 0);
    for (size_t i = 0; i < making_.size(); ++i) {
      Making& making = making_[i];
      if (!making.uffd) continue;
      lazy::AddressSpace space{.pid = outer(making.task->pid()), .image_pid = making.task->pid(), .uffd = std::move(making.uffd), .areas = {}};
      for (const LazyRange& range : making.programs.ranges) space.areas.push_back({range.start, range.length, range.shmid ? objects.at(*range.shmid) : indexes[i], range.origin});
      TRY(pager.add(std::move(space)));
      any_lazy_ = true;
    }
    return {};
  }

  Result<std::optional<pid_t>> start_pager(lazy::Pager& pager) {
    if (!any_lazy_) return std::optional<pid_t>();
    bool recorded = false;
    for (const Making& making : making_) recorded |= dir_.exists(image::working_set_name(making.task->pid()));
    lazy::DetachOptions options;
    options.prefetch = settings_.prefetch.value_or(recorded ? lazy::Prefetch::kRecorded : lazy::Prefetch::kSequential);
    options.working_set_dir = dir_.fd();
    options.record = settings_.record && !recorded;
    options.keep_fds = settings_.keep_fds;
    options.watch = settings_.watch;
    if (options.prefetch == lazy::Prefetch::kRecorded) TRY(pager.fill_recorded(dir_.fd(), kRecordedAtOnce));
    if (namespace_) options.processes = {namespace_->first()}, options.contained = true;
    else for (const Making& making : making_) options.processes.push_back(making.task->pid());
    if (settings_.stays && !settings_.sibling) options.reaper = ::getpid();
    UniqueFd told;
    if (remote_ && (remote_->live || remote_->single)) {
      int ends[2];
      if (::pipe2(ends, O_CLOEXEC) < 0) return sys_error("a pipe to the pager");
      told.reset(ends[0]), let_go_.reset(ends[1]);
      options.let_go = told.get();
    }
    const pid_t guard = TRY(pager.detach(options));
    if (remote_) remote_->hand_over();
    return std::optional<pid_t>(guard);
  }

  const image::ImageDir& dir_;
  const Settings& settings_;
  const Hooks& hooks_;
  Plan& plan_;
  std::optional<Region> region_;
  std::vector<sys::Area> special_;
  int first_fd_ = 0;
  UniqueFd faults_in_, faults_out_;
  std::vector<UniqueFd> pages_fds_;
  std::optional<FetchedEarly> early_;
  std::optional<lazy::DaemonConnection> daemon_;
  lazy::RemoteOptions* remote_ = nullptr;  // only if pages are there
  std::optional<SharedMemory> shared_;
  std::vector<Making> making_;
  std::optional<Births> births_;
  std::optional<PidNamespace> namespace_;
  std::optional<Takeover> takeover_;
  UniqueFd let_go_;  // to the pager of what may be a live source: it is told through it that the processes run
  bool any_lazy_ = false;
  Clock::time_point looked_ = Clock::now();  // for processes that died
  bool succeeded_ = false;
};

}  // namespace

Result<Restored> run(const image::ImageDir& dir, const Settings& settings, const Hooks& hooks) {
  std::unique_ptr<Plan> plan = TRY(Plan::make(dir, settings));
  SignalsBlocked blocked;
  return Coordinator(dir, settings, hooks, *plan).run();
}

}  // namespace faultline::restore
