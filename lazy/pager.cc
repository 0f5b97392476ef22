#include "lazy/pager.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <mutex>
#include <shared_mutex>
#include <thread>

#include "core/base/log.h"
#include "lazy/guard.h"
#include "lazy/remote_fetch.h"

namespace faultline::lazy {

struct Pager::State {
  Memory memory;
  std::map<std::pair<dev_t, ino_t>, uint32_t> known_files;
  std::unique_ptr<SpaceTable> table;  // after memory: refers to it
  std::map<pid_t, Space*> spaces;
  // The private memory of a process, for recordings.
  struct Named {
    pid_t image_pid;
    uint32_t index;
  };
  std::map<pid_t, Named> named;
};

Pager::Pager() : state_(std::make_unique<State>()) {}
Pager::~Pager() = default;
Pager::Pager(Pager&&) noexcept = default;
Pager& Pager::operator=(Pager&&) noexcept = default;


Result<uint32_t> Pager::add_file(UniqueFd fd, std::string name) {
  FL_CHECK(!state_->table);
  struct stat st;
  if (::fstat(fd.get(), &st) != 0) return sys_error("{}: cannot find out what it is", name);
  const auto [it, fresh] = state_->known_files.try_emplace({st.st_dev, st.st_ino}, static_cast<uint32_t>(state_->memory.files.size()));
  if (fresh) state_->memory.files.push_back(TRY(PagesFile::open(std::move(fd), std::move(name))));
  return it->second;
}

uint32_t Pager::add_index(PageIndex index, bool shared, pageserver::ObjectId object) {
  FL_CHECK(!state_->table);
  state_->memory.indexes.push_back({std::move(index), shared, object});
  return static_cast<uint32_t>(state_->memory.indexes.size() - 1);
}

Result<uint32_t> Pager::add_task_memory(const image::ImageDir& dir, uint32_t image_pid) {
  return load_index(dir, fmt::format("pagemap-{}.img", image_pid), pageserver::object_id(image_pid, pageserver::kTaskMemory));
}

Result<uint32_t> Pager::add_shared_memory(const image::ImageDir& dir, uint32_t shmid) {
  return load_index(dir, fmt::format("pagemap-shmem-{}.img", shmid), pageserver::object_id(shmid, pageserver::kSharedMemory));
}

Result<uint32_t> Pager::load_index(const image::ImageDir& dir, const std::string& file, pageserver::ObjectId object) {
  const auto take = [this](UniqueFd fd, std::string name) { return add_file(std::move(fd), std::move(name)); };
  PageIndex index = TRY(image::load_page_index(dir, file, take));
  if (index.any_remote() && !state_->memory.remote)
    return error(ENOTSUP, "{}/{}: pages are not in the images but with the host of the dump; say where it is with --page-server --address HOST --port PORT",
                 dir.name(), file);
  return add_index(std::move(index), pageserver::type_of(object) == pageserver::kSharedMemory, object);
}

void Pager::set_remote(RemoteOptions& remote) { state_->memory.remote = &remote; }

const Memory& Pager::memory() const { return state_->memory; }

Result<SpaceTable*> Pager::table() {
  if (!state_->table) state_->table = TRY(SpaceTable::create(state_->memory));
  return state_->table.get();
}

Result<void> Pager::add(AddressSpace space) {
  SpaceTable* const table = TRY(this->table());
  for (const Area& area : space.areas)
    if (area.index < state_->memory.indexes.size() && !state_->memory.indexes[area.index].shared)
      state_->named[space.pid] = {space.image_pid, area.index};
  state_->spaces[space.pid] = TRY(table->add(space.pid, std::move(space.uffd), space.areas));
  return {};
}

namespace {

constexpr uint64_t kRemoteStep = 64;  // pages that are put in by one call

// Serves faults in this process, before anything runs: nobody else serves, and no events come.
class Installer {
 public:
  Installer(const Memory& memory, SpaceTable& table) : memory_(memory), server_(memory, table, recorder_, counters_, [this](Space&, Vaddr, const std::string& why) { failure_ = why; }) {}

  template <typename Serve>
  Result<void> until_done(Space& space, Vaddr page, Serve serve) {
    for (;;) {
      Wanted wanted = {};
      const FaultServer::Outcome outcome = serve(server_, *scratch_, wanted);
      if (!failure_.empty()) return error(EIO, "process {}: the page at {:#x} cannot be delivered: {}", space.pid(), page, failure_);
      if (outcome == FaultServer::Outcome::kWaiting && wanted.remote()) {
        RemoteFetch fetch(*memory_.remote, RemoteFetch::For::kFirstInstruction, sink({}));
        fetch.want(memory_.indexes[wanted.first.index].object, wanted.first.origin, wanted.pages());
        TRY(fetch.finish());
      } else if (outcome == FaultServer::Outcome::kWaiting) {
        TRY(memory_.files[wanted.file].prepare(wanted.offset, wanted.length));
      } else if (outcome == FaultServer::Outcome::kRetry) {
        std::vector<Vaddr> faults;
        server_.drain(space, faults);
      } else if (outcome == FaultServer::Outcome::kGone) {
        return error(ESRCH, "process {} has ended while its memory was filled", space.pid());
      } else {
        return {};
      }
    }
  }

  // Puts pages that come from a page server where they are missing.
  RemoteFetch::Sink sink(std::function<void(uint64_t pages)> progress) {
    std::map<pageserver::ObjectId, uint32_t> indexes;
    for (uint32_t i = 0; i < memory_.indexes.size(); ++i) indexes.try_emplace(memory_.indexes[i].object, i);
    return [this, indexes = std::move(indexes), progress = std::move(progress)](const pageserver::Range& range, std::span<const std::byte> contents) -> Result<void> {
      const auto index = indexes.find(range.object);
      if (index == indexes.end()) return {};
      if (server_.put({index->second, range.address}, range.pages, contents.empty() ? nullptr : contents.data(), kRemoteStep, false) != FaultServer::Outcome::kDone)
        return error(ENOMEM, "the pages from {:#x} on cannot be put in", range.address);
      if (progress) progress(range.pages);
      return {};
    };
  }

 private:
  const Memory& memory_;
  Recorder recorder_{false};
  PagerCounters counters_ = {};  // of no interest
  std::string failure_;
  FaultServer server_;
  std::unique_ptr<Scratch> scratch_ = std::make_unique<Scratch>();
};

}  // namespace

Result<void> Pager::install(pid_t pid, Vaddr page) {
  const auto it = state_->spaces.find(pid);
  if (it == state_->spaces.end()) return {};
  Space& space = *it->second;
  page = page_down(page);
  if (!space.open()) return {};
  Installer installer(state_->memory, *state_->table);
  return installer.until_done(space, page, [&](FaultServer& server, Scratch& scratch, Wanted& wanted) {
    return server.serve(space, page, scratch, wanted);
  });
}

Result<void> Pager::install(std::span<const std::pair<pid_t, Vaddr>> pages) {
  TRY(install_remote(pages));
  for (const auto& [pid, page] : pages) TRY(install(pid, page));
  return {};
}

// Those of them that are with a page server and missing; others are left alone.
Result<void> Pager::install_remote(std::span<const std::pair<pid_t, Vaddr>> pages) {
  if (!state_->memory.remote || !state_->table) return {};
  Installer installer(state_->memory, *state_->table);
  RemoteFetch fetch(*state_->memory.remote, RemoteFetch::For::kFirstInstruction, installer.sink({}));
  for (const auto& [pid, page] : pages) {
    const auto it = state_->spaces.find(pid);
    if (it == state_->spaces.end() || !it->second->open()) continue;
    const Segment* const segment = it->second->find(page);
    if (segment == nullptr || !it->second->missing(*segment, page)) continue;
    const PageName name = {segment->index, segment->origin_of(page_down(page))};
    const Memory::Index& index = state_->memory.indexes[name.index];
    if (index.pages.find(name.origin)->remote()) fetch.want(index.object, name.origin, 1);
  }
  return fetch.finish();
}

namespace {

constexpr size_t kRecordedRemote = 128;  // pages of a recording that are fetched before the first instruction

std::optional<std::vector<Vaddr>> recording_of(int dir_fd, pid_t pid) {
  auto origins = image::read_working_set(dir_fd, image::working_set_name(pid));
  if (origins) return std::move(*origins);
  if (origins.error().code != ENOENT) LOG_WARNING("pager: the recording of process {} is not used: {}", pid, origins.error().what);
  return std::nullopt;
}

}  // namespace

Result<uint64_t> Pager::fill_recorded(int dir_fd, std::chrono::microseconds limit) {
  const auto end = std::chrono::steady_clock::now() + limit;
  uint64_t pages = 0;
  for (const auto& [pid, space] : state_->spaces) {
    const auto named = state_->named.find(pid);
    if (named == state_->named.end()) continue;
    const auto origins = recording_of(dir_fd, named->second.image_pid);
    if (!origins) continue;
    if (state_->memory.indexes[named->second.index].pages.any_remote()) {
      // One way there and back for all of them.
      std::vector<std::pair<pid_t, Vaddr>> first;
      for (size_t i = 0; i < std::min(origins->size(), kRecordedRemote); ++i)
        if (const auto now = space->current_address(named->second.index, (*origins)[i])) first.emplace_back(pid, *now);
      TRY(install_remote(first));
      pages += first.size();
      continue;
    }
    Installer installer(state_->memory, *state_->table);
    for (size_t i = 0; i < origins->size() && std::chrono::steady_clock::now() < end; ++i, ++pages)
      TRY(installer.until_done(*space, (*origins)[i], [&](FaultServer& server, Scratch& scratch, Wanted& wanted) {
        return server.serve_named(*space, {named->second.index, (*origins)[i]}, scratch, wanted);
      }));
  }
  return pages;
}

namespace {

// A piece of work for one thread: pages that stand together in a file.
struct Piece {
  Space* space;
  Gap gap;
  Extent extent;
};

constexpr uint64_t kPiecePages = 1024;

std::vector<Piece> all_pieces(const Memory& memory, const std::vector<Space*>& spaces) {
  std::vector<Piece> pieces;
  for (Space* space : spaces) {
    Vaddr at = 0;
    while (auto gap = space->next_gap(at, kPiecePages)) {
      const auto extent = memory.indexes[gap->segment.index].pages.find(gap->segment.origin_of(gap->at));
      FL_CHECK(extent);
      gap->pages = std::min(gap->pages, extent->pages);
      at = gap->at + gap->pages * kPageSize;
      if (!extent->remote()) pieces.push_back({space, *gap, *extent});
    }
  }
  return pieces;
}

Result<void> fill_piece(const Memory& memory, const Piece& piece) {
  const PagesFile& file = memory.files[piece.extent.file];
  const uint64_t length = piece.gap.pages * kPageSize;
  TRY(file.prepare(piece.extent.offset, length));
  for (uint64_t done = 0; done < length;) {
    const auto p = piece.space->fd().copy(piece.gap.at + done, file.data(piece.extent.offset + done), length - done);
    // A page that is there already was put in by install(), or comes from another mapping of the same object.
    const uint64_t bytes = p.bytes == 0 && p.error == EEXIST ? kPageSize : p.bytes;
    if (bytes == 0)
      return error(p.error, "process {}: cannot fill {:#x} from {}: {}", piece.space->pid(), piece.gap.at + done, file.name(),
                   errno_text(p.error));
    piece.space->mark_present(piece.gap.segment, piece.gap.at + done, bytes / kPageSize);
    done += bytes;
  }
  return {};
}

}  // namespace

// What is missing when all that is in files is in place.
Result<void> Pager::fill_remote(const Progress& progress, std::atomic<uint64_t>& done, uint64_t& all) {
  Installer installer(state_->memory, *state_->table);
  RemoteFetch fetch(*state_->memory.remote, RemoteFetch::For::kWholeMemory, installer.sink([&](uint64_t pages) {
    done += pages;
    if (progress) progress(done, all);
  }));
  for (Space* space : state_->table->spaces())
    for (auto gap = space->next_gap(0, kPiecePages); gap; gap = space->next_gap(gap->at + gap->pages * kPageSize, kPiecePages)) {
      fetch.want(state_->memory.indexes[gap->segment.index].object, gap->segment.origin_of(gap->at), gap->pages);
      all += gap->pages;
    }
  return fetch.finish();
}

Result<void> Pager::fill_everything(const Progress& progress) {
  SpaceTable* const table = TRY(this->table());
  const auto pieces = all_pieces(state_->memory, table->spaces());
  uint64_t all = 0;
  for (const Piece& piece : pieces) all += piece.gap.pages;
  std::atomic<size_t> next = 0;
  std::atomic<uint64_t> done = 0;
  std::mutex mutex;
  Result<void> outcome;
  const auto work = [&](bool tells) {
    for (size_t i = next++; i < pieces.size(); i = next++) {
      auto filled = fill_piece(state_->memory, pieces[i]);
      if (!filled) {
        std::lock_guard lock(mutex);
        if (outcome) outcome = std::move(filled);
        next = pieces.size();
        return;
      }
      done += pieces[i].gap.pages;
      if (tells && progress) progress(done, all);
    }
  };
  std::vector<std::thread> helpers;
  const size_t threads = std::min<size_t>({4, std::max(1u, std::thread::hardware_concurrency()), pieces.size() / 4 + 1});
  for (size_t i = 1; i < threads; ++i) helpers.emplace_back(work, false);
  work(true);
  for (std::thread& helper : helpers) helper.join();
  TRY(std::move(outcome));
  if (state_->memory.remote) TRY(fill_remote(progress, done, all));
  for (Space* space : table->spaces())
    if (const auto gap = space->next_gap(0, 1)) return error(EIO, "process {}: the page at {:#x} has not come", space->pid(), gap->at);
  if (progress) progress(done, all);
  for (Space* space : table->spaces()) table->close(*space);
  state_->spaces.clear();
  return {};
}

Result<pid_t> Pager::detach(const DetachOptions& options) {
  SpaceTable* const table = TRY(this->table());
  GuardOptions guard;
  guard.loop.prefetch = options.prefetch;
  guard.loop.record = options.record && options.working_set_dir >= 0;
  guard.working_set_dir = guard.loop.record ? options.working_set_dir : -1;
  guard.keep_fds = options.keep_fds;
  guard.watch = options.watch;
  std::vector<UniqueFd> held;
  const auto hold = [&](pid_t process) -> Result<HeldProcess> {
    held.emplace_back(static_cast<int>(::syscall(SYS_pidfd_open, process, 0)));
    if (!held.back()) return sys_error("pager: cannot take hold of process {}", process);
    return HeldProcess{process, held.back().get()};
  };
  if (state_->memory.remote) {
    for (const pid_t process : options.processes) guard.tree.processes.push_back(TRY(hold(process)));
    if (options.reaper) guard.tree.reaper = TRY(hold(*options.reaper));
    guard.tree.contained = options.contained;
    guard.let_go = options.let_go;
  }
  for (const PagesFile& file : state_->memory.files) guard.keep_fds.push_back(file.fd());
  for (const auto& [pid, named] : state_->named) {
    guard.recorded_processes.push_back({named.image_pid, named.index});
    if (options.prefetch != Prefetch::kRecorded || options.working_set_dir < 0) continue;
    const auto origins = recording_of(options.working_set_dir, named.image_pid);
    if (!origins) continue;
    std::vector<PageName> pages;
    for (const Vaddr origin : *origins) pages.push_back({named.index, origin});
    guard.loop.recorded.push_back({pid, std::move(pages)});
  }
  // Noted before: the states in the arena are the pager's from its start on, and it may be done before we look again.
  std::vector<UniqueFd> ours;
  for (Space* space : table->spaces())
    for (const int fd : {space->fd().get(), space->state().pidfd}) ours.push_back(UniqueFd(fd));
  const auto pid = start_guard(state_->memory, *table, guard);
  if (!pid) {
    for (UniqueFd& fd : ours) (void)fd.release();  // still the table's
    return Failure(pid.error());
  }
  state_->spaces.clear();
  state_->table.reset();
  return *pid;
}

}  // namespace faultline::lazy
