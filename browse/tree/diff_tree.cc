// diff/: how a checkpoint differs from an older one.
//   diff/summary.txt                       one line for each process
//   diff/PID/{diff.txt,diff.json}          the areas and pages that differ
//   diff/PID/{here,there}/START-END        the pages that differ, as they are in this checkpoint, and in the other
// Comparing reads all memory that both store; it is done when something of a process is looked at.
#include <algorithm>
#include <charconv>

#include "browse/tree/folders.h"
#include "browse/tree/tree.h"

namespace faultline::browse {

namespace {

constexpr const char* kTexts[] = {"diff.txt", "diff.json"};
constexpr size_t kLeastWeight = 1 << 10;

class Runs : public Folder {
 public:
  Runs(std::shared_ptr<const ProcessDiff> diff, Node first) : diff_(std::move(diff)), first_(first) {}
  size_t count() const override { return diff_->runs.size(); }
  Entry at(size_t number) const override { return {name(diff_->runs[number]), node(number)}; }
  std::optional<Node> find(std::string_view wanted) const override {
    Vaddr start = 0;
    std::from_chars(wanted.data(), wanted.data() + wanted.size(), start, 16);
    const auto run = std::ranges::lower_bound(diff_->runs, start, {}, &ProcessDiff::Run::start);
    if (run == diff_->runs.end() || name(*run) != wanted) return std::nullopt;
    return node(static_cast<size_t>(run - diff_->runs.begin()));
  }

 private:
  static std::string name(const ProcessDiff::Run& run) { return fmt::format("{:x}-{:x}", run.start, run.start + run.pages * kPageSize); }
  Node node(size_t number) const { return {first_.kind, first_.task, static_cast<uint32_t>(number)}; }

  const std::shared_ptr<const ProcessDiff> diff_;
  const Node first_;
};

}  // namespace

Result<std::shared_ptr<const ProcessDiff>> Tree::diff_of(uint32_t number) {
  if (number >= diff_pids_.size()) return error(ENOENT, "there is no such process");
  const uint32_t pid = diff_pids_[number];
  const auto weigh = [](const ProcessDiff& diff) { return kLeastWeight + diff.runs.size() * sizeof(ProcessDiff::Run) + diff.areas.size() * sizeof(ProcessDiff::Area); };
  return texts_.get_weighed<ProcessDiff>(fmt::format("diff {}", pid), weigh, [&]() -> Result<std::shared_ptr<const ProcessDiff>> {
    return std::make_shared<const ProcessDiff>(TRY(diff_process(snapshot_, *options_.against, pid)));
  });
}

Result<std::unique_ptr<Folder>> Tree::make_diff_folder(Node node) {
  switch (node.kind) {
    case NodeKind::kDiff: {
      std::vector<Folder::Entry> entries = {{"summary.txt", {NodeKind::kDiffSummary, 0, 0}}};
      for (uint32_t i = 0; i < diff_pids_.size(); ++i) entries.push_back({std::to_string(diff_pids_[i]), {NodeKind::kDiffTask, i, 0}});
      return fixed_folder(std::move(entries));
    }
    case NodeKind::kDiffTask: {
      std::vector<Folder::Entry> entries = {{"here", {NodeKind::kDiffHere, node.task, 0}}, {"there", {NodeKind::kDiffThere, node.task, 0}}};
      for (uint32_t i = 0; i < std::size(kTexts); ++i) entries.push_back({kTexts[i], {NodeKind::kDiffText, node.task, i}});
      return fixed_folder(std::move(entries));
    }
    default:
      return std::make_unique<Runs>(TRY(diff_of(node.task)), Node{node.kind == NodeKind::kDiffHere ? NodeKind::kDiffHereRun : NodeKind::kDiffThereRun, node.task, 0});
  }
}

Result<FileDataPtr> Tree::make_diff_run(Node node) {
  const auto diff = TRY(diff_of(node.task));
  if (node.index >= diff->runs.size()) return error(ENOENT, "there is no such run of pages");
  const auto& run = diff->runs[node.index];
  auto memory = TRY((node.kind == NodeKind::kDiffHereRun ? snapshot_ : *options_.against).memory(diff->pid));
  return memory_data(std::move(memory), run.start, run.start + run.pages * kPageSize);
}

Result<std::string> Tree::diff_text_of(Node node) {
  if (node.kind == NodeKind::kDiffText) {
    const auto diff = TRY(diff_of(node.task));
    return node.index == 0 ? diff_text(*diff) : diff_json(*diff);
  }
  if (!options_.against) return error(ENOENT, "there is no checkpoint to compare with");
  std::string text;
  for (uint32_t i = 0; i < diff_pids_.size(); ++i) {
    const auto diff = diff_of(i);
    if (!diff) snapshot_.note(diff.error());
    text += diff ? diff_line(**diff) : fmt::format("{}: cannot be compared: {}\n", diff_pids_[i], diff.error().what);
  }
  return text;
}

}  // namespace faultline::browse
