#include "browse/diff.h"

#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <set>

#include "core/image/json_writer.h"

namespace faultline::browse {

namespace {

using Kind = AddressSpace::Kind;
using Run = AddressSpace::Run;

constexpr size_t kPiece = 256 << 10;

// Whether both runs stand at the same place of the same file, so that they need not be read.
bool same_place(const Run& a, const Run& b) {
  const auto place = [](const Run& run) -> std::optional<StoredPages::Place> {
    if (run.kind == Kind::kFile) return StoredPages::Place{run.file->fd(), run.offset};
    return run.pages ? run.pages->place(run.extent) : std::nullopt;
  };
  const auto x = place(a), y = place(b);
  struct stat st_x, st_y;
  return x && y && x->offset == y->offset && ::fstat(x->fd, &st_x) == 0 && ::fstat(y->fd, &st_y) == 0 && st_x.st_dev == st_y.st_dev && st_x.st_ino == st_y.st_ino;
}

class Comparison {
 public:
  Comparison(const AddressSpace& here, const AddressSpace& there, ProcessDiff& diff) : here_(here), there_(there), diff_(diff), a_(kPiece), b_(kPiece) {}

  void run() {
    for (const AddressSpace::Area& area : here_.areas())
      if (!of_kernel(area)) compare_area(area);
    for (const AddressSpace::Area& area : there_.areas()) {
      if (of_kernel(area)) continue;
      // What lies beside the areas of the other was not looked at yet.
      ProcessDiff::Area only = {.start = area.vma->start, .end = area.vma->end, .state = ProcessDiff::State::kOnlyThere, .name = area.path};
      bool any = false;
      for (Vaddr at = area.vma->start; at < area.vma->end;) {
        const Run hole = here_.run_at(at, area.vma->end);
        if (hole.kind == Kind::kHole) any = true, compare(at, hole.end, only);
        at = hole.end;
      }
      if (any) diff_.areas.push_back(std::move(only));
    }
    std::ranges::sort(diff_.areas, {}, &ProcessDiff::Area::start);
    std::ranges::sort(diff_.runs, {}, &ProcessDiff::Run::start);
  }

 private:
  // What the kernel shows to every process: in no image.
  static bool of_kernel(const AddressSpace::Area& area) { return area.vma->status & (image::kVmaVvar | image::kVmaVsyscall); }

  void compare_area(const AddressSpace::Area& area) {
    ProcessDiff::Area result = {.start = area.vma->start, .end = area.vma->end, .state = ProcessDiff::State::kOnlyHere, .name = area.path};
    const AddressSpace::Area* other = there_.area_at(area.vma->start);
    const bool same_area = other && other->vma->start == area.vma->start && other->vma->end == area.vma->end && other->vma->prot == area.vma->prot &&
                           other->vma->flags == area.vma->flags && other->path == area.path;
    if (there_.run_at(area.vma->start, area.vma->end).kind != Kind::kHole || there_.run_at(area.vma->start, area.vma->end).end < area.vma->end)
      result.state = ProcessDiff::State::kChanged;
    compare(area.vma->start, area.vma->end, result);
    if (!same_area || result.changed_pages > 0 || result.unknown_pages > 0) diff_.areas.push_back(std::move(result));
  }

  void compare(Vaddr start, Vaddr end, ProcessDiff::Area& area) {
    for (Vaddr at = start; at < end;) {
      const Run a = here_.run_at(at, end), b = there_.run_at(at, end);
      const Vaddr stop = std::min(a.end, b.end);
      compare_runs(a, b, at, stop, area);
      at = stop;
    }
  }

  void compare_runs(const Run& a, const Run& b, Vaddr at, Vaddr end, ProcessDiff::Area& area) {
    const uint64_t pages = (end - at + kPageSize - 1) / kPageSize;
    diff_.compared_pages += pages;
    if (a.kind == Kind::kLost || b.kind == Kind::kLost) return unknown(pages, area);
    if (!a.has_data() && !b.has_data()) return;
    if (a.kind == Kind::kHole || b.kind == Kind::kHole) return changed(at, pages, area);
    if (same_place(a, b)) return;
    for (; at < end; at += kPiece) {
      const size_t size = std::min<uint64_t>(kPiece, end - at);
      const auto x = here_.read(at, std::span(a_).first(size)), y = there_.read(at, std::span(b_).first(size));
      if (!x || !y || *x != size || *y != size) {
        unknown((size + kPageSize - 1) / kPageSize, area);
        continue;
      }
      for (size_t i = 0; i < size; i += kPageSize)
        if (std::memcmp(a_.data() + i, b_.data() + i, std::min<size_t>(kPageSize, size - i)) != 0) changed(at + i, 1, area);
    }
  }

  void unknown(uint64_t pages, ProcessDiff::Area& area) { area.unknown_pages += pages, diff_.unknown_pages += pages; }

  void changed(Vaddr at, uint64_t pages, ProcessDiff::Area& area) {
    area.changed_pages += pages, diff_.changed_pages += pages;
    if (!diff_.runs.empty() && diff_.runs.back().start + diff_.runs.back().pages * kPageSize == at) diff_.runs.back().pages += pages;
    else if (diff_.runs.size() < ProcessDiff::kMaxRuns) diff_.runs.push_back({at, pages});
  }

  const AddressSpace& here_;
  const AddressSpace& there_;
  ProcessDiff& diff_;
  std::vector<std::byte> a_, b_;
};

const char* word_of(ProcessDiff::State state) {
  switch (state) {
    case ProcessDiff::State::kSame: return "same";
    case ProcessDiff::State::kChanged: return "changed";
    case ProcessDiff::State::kOnlyHere: return "only here";
    case ProcessDiff::State::kOnlyThere: return "only there";
  }
  return "";
}

std::string name_of(const std::string& name) { return name.empty() ? "" : " " + name; }

// The memory of a process; nullptr of one that has none: a zombie, or one that is not there.
Result<std::shared_ptr<const AddressSpace>> memory_of(Snapshot& snapshot, uint32_t pid) {
  if (!snapshot.process(pid)) return std::shared_ptr<const AddressSpace>();
  auto memory = snapshot.memory(pid);
  if (!memory && memory.error().code == ENOENT) return std::shared_ptr<const AddressSpace>();
  return memory;
}

}  // namespace

Result<ProcessDiff> diff_process(Snapshot& here, Snapshot& there, uint32_t pid) {
  const bool is_here = here.process(pid), is_there = there.process(pid);
  if (!is_here && !is_there) return error(ENOENT, "there is no process {} in {}, nor in {}", pid, here.name(), there.name());
  ProcessDiff diff = {.pid = pid, .state = ProcessDiff::State::kSame, .areas = {}, .runs = {}};
  const AddressSpace none(std::make_shared<const image::MmEntry>(), {}, nullptr);
  const auto a = TRY(memory_of(here, pid)), b = TRY(memory_of(there, pid));
  Comparison(a ? *a : none, b ? *b : none, diff).run();
  if (!is_there) diff.state = ProcessDiff::State::kOnlyHere;
  else if (!is_here) diff.state = ProcessDiff::State::kOnlyThere;
  else if (!diff.areas.empty()) diff.state = ProcessDiff::State::kChanged;
  return diff;
}

std::vector<uint32_t> all_pids(const Snapshot& here, const Snapshot& there) {
  std::set<uint32_t> pids;
  for (const Snapshot* snapshot : {&here, &there})
    for (const Snapshot::Process& process : snapshot->processes()) pids.insert(process.pid);
  return {pids.begin(), pids.end()};
}

std::string diff_line(const ProcessDiff& diff) {
  return fmt::format("{} {}: {} areas, {} of {} pages differ, {} unknown\n", diff.pid, word_of(diff.state), diff.areas.size(), diff.changed_pages,
                     diff.compared_pages, diff.unknown_pages);
}

std::string diff_text(const ProcessDiff& diff) {
  std::string text = diff_line(diff);
  for (const ProcessDiff::Area& area : diff.areas)
    text += fmt::format("area {:x}-{:x} {}: {} pages differ, {} unknown{}\n", area.start, area.end, word_of(area.state), area.changed_pages, area.unknown_pages, name_of(area.name));
  for (const ProcessDiff::Run& run : diff.runs) text += fmt::format("pages {:x}-{:x} ({})\n", run.start, run.start + run.pages * kPageSize, run.pages);
  if (diff.runs.size() == ProcessDiff::kMaxRuns) text += fmt::format("... more runs of pages than the {} above\n", ProcessDiff::kMaxRuns);
  return text;
}

std::string diff_json(const ProcessDiff& diff) {
  image::JsonWriter json;
  const auto number = [&](const char* key, uint64_t value) { json.key(key), json.number(value); };
  const auto address = [&](const char* key, uint64_t value) { json.key(key), json.text(fmt::format("{:#x}", value)); };
  json.open_object();
  number("pid", diff.pid);
  json.key("state"), json.text(word_of(diff.state));
  number("compared_pages", diff.compared_pages), number("changed_pages", diff.changed_pages), number("unknown_pages", diff.unknown_pages);
  json.key("areas"), json.open_array();
  for (const ProcessDiff::Area& area : diff.areas) {
    json.open_object();
    address("start", area.start), address("end", area.end);
    json.key("state"), json.text(word_of(area.state));
    json.key("name"), json.text(image::is_utf8(area.name) ? area.name : "?");
    number("changed_pages", area.changed_pages), number("unknown_pages", area.unknown_pages);
    json.close_object();
  }
  json.close_array();
  json.key("runs"), json.open_array();
  for (const ProcessDiff::Run& run : diff.runs) {
    json.open_object();
    address("start", run.start), number("pages", run.pages);
    json.close_object();
  }
  json.close_array();
  json.key("runs_cut"), json.boolean(diff.runs.size() == ProcessDiff::kMaxRuns);
  json.close_object();
  return json.take() + "\n";
}

}  // namespace faultline::browse
