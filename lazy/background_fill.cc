// The part of the fault loop that brings what nobody has asked for: recorded pages first, then the rest in the order of addresses.
#include <sched.h>

#include <algorithm>
#include <mutex>
#include <optional>
#include <shared_mutex>

#include "lazy/fault_loop.h"

namespace faultline::lazy {

namespace {

// What a fault may have to wait for: one step, of 2 µs for a page, of 20 for 16.
constexpr FaultServer::Chunk kContended = {.pages = 16, .step = 1};
constexpr FaultServer::Chunk kQuiet = {.pages = 32, .step = 16};
constexpr unsigned kContendedFor = 256;  // chunks after a fault
// Without a fault for so long, the other workers help to fill.
constexpr auto kQuietFor = std::chrono::milliseconds(3);
constexpr uint64_t kWorthHelping = 1024;  // pages that are missing

// The middle between the first missing page and `end`; nullopt if that is too little to be divided.
std::optional<Vaddr> middle(Space& space, Vaddr end) {
  std::shared_lock lock(space.lock());
  const auto first = space.open() ? space.next_gap(0, 1) : std::nullopt;
  if (!first) return {};
  // Calls what(start, pages) for each part in between, until it returns true.
  const auto parts = [&](auto what) {
    for (const Segment& s : space.segments()) {
      const Vaddr from = std::max(s.at, first->at), to = std::min(s.end(), end);
      if (from < to && what(from, (to - from) / kPageSize)) return;
    }
  };
  uint64_t all = 0;
  parts([&](Vaddr, uint64_t pages) { return all += pages, false; });
  if (all < kWorthHelping) return {};
  Vaddr at = 0;
  uint64_t before = all / 2;
  parts([&](Vaddr from, uint64_t pages) {
    at = from + std::min(before, pages) * kPageSize;
    if (before < pages) return true;
    before -= pages;
    return false;
  });
  return at;
}

}  // namespace

FaultServer::Chunk FaultLoop::chunk(Filler& filler) {
  const uint64_t demand = demand_.load(std::memory_order_relaxed);
  if (demand != filler.demand) {
    filler.demand = demand;
    filler.contended = kContendedFor;
  }
  if (filler.contended == 0) return kQuiet;
  --filler.contended;
  return kContended;
}

// Maps what is in the page cache before the fill begins, so that a fault costs no read: at most the first GiB of each file.
bool FaultLoop::prepare_ahead() {
  constexpr uint64_t kMostAhead = 1 << 30;
  while (ahead_file_ < memory_.files.size()) {
    const uint64_t end = std::min(kMostAhead, memory_.files[ahead_file_].size());
    if (ahead_offset_ < end && server_.prepare_ahead(ahead_file_, ahead_offset_)) {
      ahead_offset_ += PagesFile::kWindow;
      return true;
    }
    ++ahead_file_;
    ahead_offset_ = 0;
  }
  return false;
}

void FaultLoop::look_at_spaces(Filler& filler) {
  const uint64_t version = table_.version();
  if (version == filler.version) return;
  filler.version = version;
  filler.spaces = table_.spaces();
  std::erase_if(filler.states, [&](const auto& entry) { return std::ranges::find(filler.spaces, entry.first) == filler.spaces.end(); });
}

FaultLoop::FillState& FaultLoop::state_of(Filler& filler, Space& space) {
  FillState& state = filler.states[&space];
  if (state.serial == space.state().serial) return state;
  state = {};  // fresh, or another address space in the same place
  state.serial = space.state().serial;
  state.copied = server_.copied();
  if (!filler.helps && options_.prefetch == Prefetch::kRecorded)
    for (const auto& [pid, pages] : options_.recorded)
      if (pid == space.pid()) state.recorded = &pages;
  return state;
}

FaultLoop::FillStep FaultLoop::fill_step(Worker& worker) {
  if (prepare_ahead()) return FillStep::kProgress;
  look_at_spaces(worker.filler);
  for (Space* space : worker.filler.spaces) {
    FillState& state = state_of(worker.filler, *space);
    if (state.stuck) continue;
    if (state.recorded != nullptr) return fill_recorded(worker, *space, state);
    sequential_ = true;
    return fill_space(worker, *space, state);
  }
  return FillStep::kNothingToDo;
}

bool FaultLoop::needs_help(Worker& worker) {
  if (!worker.filler.helps) return false;
  look_at_spaces(worker.filler);
  return std::ranges::any_of(worker.filler.spaces, [&](Space* space) { return !state_of(worker.filler, *space).stuck; });
}

// The filling worker goes upwards from the first missing page. A helper takes the second half of the way that is before it, then the second
// half of what is left of that, until it is not worth it any more.
FaultLoop::FillStep FaultLoop::help(Worker& worker) {
  Filler& filler = worker.filler;
  const auto now = std::chrono::steady_clock::now();
  if (const uint64_t demand = demand_.load(std::memory_order_relaxed); demand != filler.demand || filler.quiet_since.time_since_epoch().count() == 0) {
    filler.demand = demand;
    filler.quiet_since = now;
  }
  if (!sequential_.load() || now - filler.quiet_since < kQuietFor) return FillStep::kNothingToDo;
  for (Space* space : filler.spaces) {
    FillState& state = state_of(filler, *space);
    if (state.stuck) continue;
    if (state.cursor.at == 0) {
      const auto half = middle(*space, state.helped_from);
      state.stuck = !half;
      if (!half) continue;
      state.cursor.at = state.helped_from = *half;
    }
    return fill_space(worker, *space, state);
  }
  return FillStep::kNothingToDo;
}

FaultLoop::FillStep FaultLoop::fill_recorded(Worker& worker, Space& space, FillState& state) {
  for (uint64_t budget = chunk(worker.filler).pages; budget != 0; --budget) {
    if (state.next_recorded == state.recorded->size()) {
      state.recorded = nullptr;
      return FillStep::kProgress;
    }
    Wanted wanted = {};
    switch (server_.serve_named(space, (*state.recorded)[state.next_recorded], worker.scratch, wanted)) {
      case FaultServer::Outcome::kDone: ++state.next_recorded; break;
      case FaultServer::Outcome::kGone: state.recorded = nullptr; return FillStep::kProgress;
      case FaultServer::Outcome::kRetry: drain(worker, space); ::sched_yield(); return FillStep::kProgress;
      case FaultServer::Outcome::kWaiting:
        // Not waited for: the disk reads on while the next pages are looked at, and the sequential pass brings it.
        if (!wanted.remote()) reader_.want(wanted, nullptr);
        else if (bulk_port(worker)->room(worker.filler.contended != 0)) bulk_port(worker)->ahead(wanted);
        else return FillStep::kWait;
        ++state.next_recorded;
    }
  }
  return FillStep::kProgress;
}

FaultLoop::FillStep FaultLoop::fill_space(Worker& worker, Space& space, FillState& state) {
  RemotePort* const port = bulk_port(worker);
  FaultServer::Chunk chunk = this->chunk(worker.filler);
  if (port) chunk.remote = std::min(chunk.remote, port->room(worker.filler.contended != 0));
  if (chunk.remote == 0) return FillStep::kWait;
  Wanted wanted = {};
  switch (server_.fill(space, state.cursor, chunk, wanted)) {
    case FaultServer::Fill::kProgress: state.progressed = true; return FillStep::kProgress;
    case FaultServer::Fill::kRetry:
      drain(worker, space);
      ::sched_yield();
      return FillStep::kProgress;
    case FaultServer::Fill::kWaiting:
      disk_wait_ = true;
      reader_.want(wanted, nullptr);
      return FillStep::kWait;
    case FaultServer::Fill::kRemote:
      port->ahead(wanted);
      return FillStep::kProgress;
    case FaultServer::Fill::kGone:
      state.stuck = true;
      signal_done();
      return FillStep::kProgress;
    case FaultServer::Fill::kEnd: break;
  }
  if (port && !port->idle()) return FillStep::kWait;
  state.progressed |= state.copied != server_.copied();
  state.copied = server_.copied();
  // Events may have moved missing pages behind the cursor: passes are made until one brings nothing.
  if (complete(space)) {
    state.stuck = true;
    signal_done();
  } else {
    state.stuck = !std::exchange(state.progressed, false);
    state.cursor.at = 0;
  }
  return FillStep::kProgress;
}

}  // namespace faultline::lazy
