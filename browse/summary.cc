#include "browse/summary.h"

#include <algorithm>

#include "core/image/working_set.h"

namespace faultline::browse {

namespace {

using Area = AddressSpace::Area;
using Run = AddressSpace::Run;
using Kind = AddressSpace::Kind;

struct PartName {
  std::string_view key, text;
};
constexpr std::array<PartName, kParts> kNames = {{{"stored", "private, stored"},
                                                  {"in_parents", "private, in parents"},
                                                  {"shared", "shared memory"},
                                                  {"file", "mapped files"},
                                                  {"zero", "zero or untouched"},
                                                  {"reserved", "reserved only"},
                                                  {"file_absent", "files not here"},
                                                  {"kernel", "the kernel's"},
                                                  {"remote", "left elsewhere"},
                                                  {"lost", "lost"}}};

constexpr uint32_t kFileKinds = image::kVmaFilePrivate | image::kVmaFileShared;
constexpr uint32_t kObjectKinds = image::kVmaAnonShared | image::kVmaMemfd;

// Of an area without pages of its own that are not there for a reason.
Part part_of_missing(const Area& area) {
  if (area.vma->status & kObjectKinds) return Part::kLost;
  return area.vma->status & kFileKinds ? Part::kAbsent : Part::kKernel;
}

Part part_of(const Run& run, const Area& area, bool whole) {
  switch (run.kind) {
    case Kind::kStored:
    case Kind::kShared:
      switch (run.pages->keeper(run.extent)) {
        case StoredPages::Keeper::kNobody: return Part::kLost;
        case StoredPages::Keeper::kElsewhere: return Part::kRemote;
        case StoredPages::Keeper::kParent: return run.kind == Kind::kShared ? Part::kShared : Part::kParents;
        case StoredPages::Keeper::kCheckpoint: break;
      }
      return run.kind == Kind::kShared ? Part::kShared : Part::kStored;
    case Kind::kFile: return Part::kFile;
    case Kind::kLost: return run.pages || !whole ? Part::kLost : part_of_missing(area);
    case Kind::kHole:
    case Kind::kZero: break;
  }
  return area.vma->prot == 0 ? Part::kReserved : Part::kZero;
}

// `whole`: the pages of the process can be read, so that what is missing elsewhere is not theirs.
Bytes measure(const AddressSpace& memory, const Area& area, bool whole) {
  Bytes bytes = {};
  for (Vaddr at = area.vma->start; at < area.vma->end;) {
    const Run run = memory.run_at(at, area.vma->end);
    bytes[static_cast<size_t>(part_of(run, area, whole))] += run.end - at;
    at = run.end;
  }
  return bytes;
}

void add(Bytes& to, const Bytes& bytes) {
  for (size_t i = 0; i < kParts; ++i) to[i] += bytes[i];
}

std::string perms_of(const image::VmaEntry& vma) {
  return {vma.prot & 1 ? 'r' : '-', vma.prot & 2 ? 'w' : '-', vma.prot & 4 ? 'x' : '-', vma.flags & 1 ? 's' : 'p'};
}

class Scan {
 public:
  Scan(Snapshot& snapshot, const Progress& progress) : snapshot_(snapshot), progress_(progress) {}

  Summary take() {
    head();
    origin();
    if (progress_.total) progress_.total(to_read());
    std::vector<std::pair<const Snapshot::Process*, unsigned>> todo;
    const auto all = snapshot_.processes();
    for (auto p = all.rbegin(); p != all.rend(); ++p)
      if (p->ppid == 0 || p->ppid == p->pid || !snapshot_.process(p->ppid)) todo.emplace_back(&*p, 0);
    std::vector<bool> seen(all.size());
    const auto visit = [&] {
      while (!todo.empty()) {
        const auto [process, depth] = todo.back();
        todo.pop_back();
        const auto number = static_cast<size_t>(process - all.data());
        if (seen[number]) continue;
        seen[number] = true;
        one(*process, depth);
        for (auto child = process->children.rbegin(); child != process->children.rend(); ++child) todo.emplace_back(&all[*child], depth + 1);
      }
    };
    visit();
    // Damaged images may have processes that are each other's parents.
    for (size_t i = 0; i < all.size(); ++i)
      if (!seen[i]) todo.emplace_back(&all[i], 0), visit();
    shared();
    return std::move(out_);
  }

 private:
  void head() {
    out_.name = snapshot_.name();
    out_.time = snapshot_.time();
    out_.complete = snapshot_.inventory() != nullptr;
    out_.damage = snapshot_.damage();
    for (const Images::File& file : snapshot_.images().files()) ++out_.files, out_.files_size += file.size;
  }

  void origin() {
    const image::InventoryEntry* inventory = snapshot_.inventory();
    // CRIU gives every dump a number, and leaves our file alone if there is one of an earlier dump.
    if (inventory && inventory->dump_criu_run_id) {
      out_.tool = "CRIU (4.1 or later)";
      return;
    }
    if (!snapshot_.images().file(image::kOriginFile)) return;
    auto entries = snapshot_.entries<image::OriginEntry>(image::kOriginFile, image::kOrigin);
    if (!entries) return damage(entries.error());
    if (entries->empty()) return;
    const image::OriginEntry& origin = entries->front();
    out_.tool = origin.tool, out_.host = origin.host, out_.kernel = origin.kernel, out_.machine = origin.machine;
    out_.options = origin.options;
    out_.time = {.tv_sec = static_cast<time_t>(origin.time_ns / 1'000'000'000), .tv_nsec = static_cast<long>(origin.time_ns % 1'000'000'000)};
  }

  void damage(const Error& failure) {
    snapshot_.note(failure);
    out_.damage.push_back(failure.what);
  }

  uint64_t weight_of(uint32_t pid) const {
    uint64_t bytes = 0;
    for (const char* kind : {"mm", "pagemap"})
      if (const Images::File* file = snapshot_.images().file(fmt::format("{}-{}.img", kind, pid))) bytes += file->size;
    return bytes;
  }

  uint64_t to_read() const {
    uint64_t bytes = 0;
    for (const Snapshot::Process& process : snapshot_.processes()) bytes += weight_of(process.pid);
    return bytes;
  }

  void one(const Snapshot::Process& process, unsigned depth) {
    ProcessSummary row = {.pid = process.pid, .ppid = process.ppid, .depth = depth, .threads = process.threads.size()};
    const auto failed = [&](const Error& failure) {
      snapshot_.note(failure);
      if (row.damage.empty()) row.damage = failure.what;
    };
    bool dead = false;
    if (auto core = snapshot_.core(process.pid); !core) failed(core.error());
    else if (!(*core)->tc) row.damage = "its core image has no part for the process";
    else {
      row.comm = (*core)->tc->comm;
      dead = (*core)->tc->task_state == image::kTaskDead;
      row.state = dead ? 'Z' : (*core)->tc->task_state == image::kTaskStopped ? 'T' : 'S';
    }
    if (!dead) {
      if (auto fds = snapshot_.fds(process.pid)) row.fds = (*fds)->size();
      else failed(fds.error());
      if (auto memory = snapshot_.memory(process.pid)) areas(**memory, row);
      else failed(memory.error());
      working_set(row, failed);
    }
    if (progress_.done) progress_.done(weight_of(process.pid));
    out_.zombies += dead;
    out_.threads += row.threads;
    out_.areas += row.areas;
    out_.size += row.size;
    add(out_.bytes, row.bytes);
    out_.processes.push_back(std::move(row));
  }

  void areas(const AddressSpace& memory, ProcessSummary& row) {
    const std::string damage = memory.damage();
    if (!damage.empty() && row.damage.empty()) row.damage = damage;
    for (const Area& area : memory.areas()) {
      AreaSummary summary = {.pid = row.pid, .start = area.vma->start, .end = area.vma->end, .bytes = measure(memory, area, damage.empty())};
      ++row.areas;
      row.size += area.vma->end - area.vma->start;
      add(row.bytes, summary.bytes);
      auto& largest = out_.largest;
      const auto before = [](const AreaSummary& a, const AreaSummary& b) { return a.weight() > b.weight(); };
      if (largest.size() == kLargest && !before(summary, largest.back())) continue;
      summary.perms = perms_of(*area.vma);
      summary.name = area.path;
      largest.insert(std::ranges::upper_bound(largest, summary, before), std::move(summary));
      if (largest.size() > kLargest) largest.pop_back();
    }
  }

  void working_set(ProcessSummary& row, const auto& failed) {
    const std::string file = image::working_set_name(row.pid);
    if (!snapshot_.images().file(file)) return;
    const auto read = [&]() -> Result<size_t> { return TRY(image::read_working_set(TRY(snapshot_.images().with(file))->fd(), file)).size(); };
    if (auto pages = read()) row.touched = *pages;
    else failed(pages.error());
  }

  void shared() {
    for (const uint32_t object : snapshot_.shared_objects()) {
      auto pages = snapshot_.shared_pages(object);
      if (!pages) {
        damage(pages.error());
        continue;
      }
      ++out_.shared_objects;
      for (const image::Extent& extent : (*pages)->index().extents())
        if (const auto keeper = (*pages)->keeper(extent); keeper == StoredPages::Keeper::kCheckpoint || keeper == StoredPages::Keeper::kParent)
          out_.shared_size += extent.pages * kPageSize;
      if (!(*pages)->damage().empty()) out_.damage.push_back((*pages)->damage());
    }
  }

  Snapshot& snapshot_;
  const Progress& progress_;
  Summary out_;
};

}  // namespace

std::string_view key_of(Part part) { return kNames[static_cast<size_t>(part)].key; }
std::string_view text_of(Part part) { return kNames[static_cast<size_t>(part)].text; }

bool Summary::damaged() const {
  return !complete || !damage.empty() || std::ranges::any_of(processes, [](const ProcessSummary& p) { return !p.damage.empty(); });
}

Summary summarize(Snapshot& snapshot, const Progress& progress) { return Scan(snapshot, progress).take(); }

}  // namespace faultline::browse
