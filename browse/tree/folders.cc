#include "browse/tree/folders.h"

#include <algorithm>
#include <charconv>

#include "core/image/kinds.h"

namespace faultline::browse {

namespace {

constexpr size_t kLongestName = 100;  // of what stands behind the addresses

class Fixed : public Folder {
 public:
  explicit Fixed(std::vector<Entry> entries) : entries_(std::move(entries)) {}
  size_t count() const override { return entries_.size(); }
  Entry at(size_t number) const override { return entries_[number]; }

 private:
  const std::vector<Entry> entries_;
};

class NumberedFolder : public Folder {
 public:
  NumberedFolder(std::vector<uint32_t> numbers, Numbered form) : numbers_(std::move(numbers)), form_(form) {}
  size_t count() const override { return numbers_.size(); }
  Entry at(size_t number) const override { return {std::to_string(numbers_[number]), node(static_cast<uint32_t>(number))}; }
  std::optional<Node> find(std::string_view name) const override {
    const auto wanted = number_of(name);
    if (!wanted) return std::nullopt;
    const auto at = std::ranges::lower_bound(numbers_, *wanted);
    if (at == numbers_.end() || *at != *wanted) return std::nullopt;
    return node(static_cast<uint32_t>(at - numbers_.begin()));
  }

 private:
  Node node(uint32_t position) const {
    return form_.position_is_task ? Node{form_.kind, position, 0} : Node{form_.kind, form_.task, position};
  }
  const std::vector<uint32_t> numbers_;
  const Numbered form_;
};

class Areas : public Folder {
 public:
  Areas(std::shared_ptr<const AddressSpace> memory, uint32_t task) : memory_(std::move(memory)), task_(task) {
    for (uint32_t i = 0; i < memory_->areas().size(); ++i)
      if (shown(memory_->areas()[i])) numbers_.push_back(i);
  }
  size_t count() const override { return numbers_.size(); }
  Entry at(size_t number) const override { return {area_name(memory_->areas()[numbers_[number]]), {NodeKind::kArea, task_, numbers_[number]}}; }
  std::optional<Node> find(std::string_view name) const override {
    Vaddr start = 0;
    std::from_chars(name.data(), name.data() + name.size(), start, 16);
    const AddressSpace::Area* area = memory_->area_at(start);
    if (!area || !shown(*area) || area_name(*area) != name) return std::nullopt;
    return Node{NodeKind::kArea, task_, static_cast<uint32_t>(area - memory_->areas().data())};
  }

 private:
  // What the kernel makes for every process is in no checkpoint: a file of it could only be an error, to every tool that reads all files.
  static bool shown(const AddressSpace::Area& area) { return !(area.vma->status & (image::kVmaVvar | image::kVmaVsyscall)); }

  const std::shared_ptr<const AddressSpace> memory_;
  const uint32_t task_;
  std::vector<uint32_t> numbers_;  // of the areas that are shown
};

class Raws : public Folder {
 public:
  explicit Raws(const Images& images) : images_(images) {}
  size_t count() const override { return images_.files().size(); }
  Entry at(size_t number) const override { return {images_.files()[number].name, {NodeKind::kRawFile, 0, static_cast<uint32_t>(number)}}; }
  std::optional<Node> find(std::string_view name) const override {
    const Images::File* file = images_.file(name);
    if (!file) return std::nullopt;
    return Node{NodeKind::kRawFile, 0, static_cast<uint32_t>(file - images_.files().data())};
  }

 private:
  const Images& images_;
};

// As files of one process: the number that a node has is that of the process.
class Children : public Folder {
 public:
  Children(const Snapshot& snapshot, std::optional<uint32_t> task) : snapshot_(snapshot), task_(task) {
    if (task) numbers_ = snapshot.processes()[*task].children;
    else
      for (size_t i = 0; i < snapshot.processes().size(); ++i)
        if (!parent_of(snapshot.processes()[i])) numbers_.push_back(i);
  }
  size_t count() const override { return numbers_.size() + (task_ ? 1 : 0); }
  Entry at(size_t number) const override {
    if (number == numbers_.size()) return {"task", {NodeKind::kTreeLink, *task_, 0}};
    return {std::to_string(snapshot_.processes()[numbers_[number]].pid), {NodeKind::kTreeTask, static_cast<uint32_t>(numbers_[number]), 0}};
  }

 private:
  bool parent_of(const Snapshot::Process& process) const { return process.ppid != process.pid && snapshot_.process(process.ppid) != nullptr; }

  const Snapshot& snapshot_;
  const std::optional<uint32_t> task_;
  std::vector<size_t> numbers_;
};

class Objects : public Folder {
 public:
  Objects(std::shared_ptr<const std::vector<std::string>> names, uint32_t table, std::vector<uint32_t> shared_memory)
      : names_(std::move(names)), table_(table), shared_memory_(std::move(shared_memory)) {}
  size_t count() const override { return names_->size() + shared_memory_.size(); }
  Entry at(size_t number) const override {
    if (number < names_->size()) return {(*names_)[number], {NodeKind::kObject, table_, static_cast<uint32_t>(number)}};
    const uint32_t id = shared_memory_[number - names_->size()];
    return {std::to_string(id), {NodeKind::kSharedMemory, 0, id}};
  }
  std::optional<Node> find(std::string_view name) const override {
    const auto at = std::ranges::lower_bound(*names_, name);
    if (at != names_->end() && *at == name) return Node{NodeKind::kObject, table_, static_cast<uint32_t>(at - names_->begin())};
    const auto id = number_of(name);
    if (id && std::ranges::binary_search(shared_memory_, *id)) return Node{NodeKind::kSharedMemory, 0, *id};
    return std::nullopt;
  }

 private:
  const std::shared_ptr<const std::vector<std::string>> names_;
  const uint32_t table_;
  const std::vector<uint32_t> shared_memory_;
};

constexpr std::string_view kJson = ".json", kImage = ".img";

class Jsons : public Folder {
 public:
  explicit Jsons(const Images& images) : images_(images) {
    for (uint32_t i = 0; i < images.files().size(); ++i)
      if (has_json(images.files()[i])) numbers_.push_back(i);
  }
  size_t count() const override { return numbers_.size(); }
  Entry at(size_t number) const override {
    std::string_view name = images_.files()[numbers_[number]].name;
    if (name.ends_with(kImage)) name.remove_suffix(kImage.size());
    return {std::string(name) + std::string(kJson), {NodeKind::kImageJson, 0, numbers_[number]}};
  }
  std::optional<Node> find(std::string_view name) const override {
    if (!name.ends_with(kJson)) return std::nullopt;
    const std::string stem(name.substr(0, name.size() - kJson.size()));
    const Images::File* file = images_.file(stem + std::string(kImage));
    if (!file) file = images_.file(stem);
    if (!file || !has_json(*file)) return std::nullopt;
    return Node{NodeKind::kImageJson, 0, static_cast<uint32_t>(file - images_.files().data())};
  }

 private:
  const Images& images_;
  std::vector<uint32_t> numbers_;  // of those files that have a text
};

}  // namespace

std::optional<Node> Folder::find(std::string_view name) const {
  for (size_t i = 0; i < count(); ++i)
    if (Entry entry = at(i); entry.name == name) return entry.node;
  return std::nullopt;
}

std::unique_ptr<Folder> fixed_folder(std::vector<Folder::Entry> entries) { return std::make_unique<Fixed>(std::move(entries)); }
std::unique_ptr<Folder> numbered_folder(std::vector<uint32_t> numbers, Numbered form) { return std::make_unique<NumberedFolder>(std::move(numbers), form); }
std::unique_ptr<Folder> areas_folder(std::shared_ptr<const AddressSpace> memory, uint32_t task) { return std::make_unique<Areas>(std::move(memory), task); }
std::unique_ptr<Folder> tree_folder(const Snapshot& snapshot, std::optional<uint32_t> task) { return std::make_unique<Children>(snapshot, task); }
std::unique_ptr<Folder> objects_folder(std::shared_ptr<const std::vector<std::string>> names, uint32_t table, std::vector<uint32_t> shared_memory) {
  return std::make_unique<Objects>(std::move(names), table, std::move(shared_memory));
}
std::unique_ptr<Folder> raw_folder(const Images& images) { return std::make_unique<Raws>(images); }
std::unique_ptr<Folder> json_folder(const Images& images) { return std::make_unique<Jsons>(images); }

bool has_json(const Images::File& file) {
  const std::string_view name = file.name;
  // The names of CRIU's images that hold no messages (formats/image-files.md): pages, archives, what other programs have written.
  constexpr std::string_view kBytes[] = {"pages-", "iptables-", "ip6tables-", "nftables-", "ifaddr-", "route-", "route6-", "rule-", "netns-ct-", "netns-exp-", "tmpfs-"};
  constexpr std::string_view kOthers[] = {"stats-dump", "stats-restore", image::kInterruptedCallsFile};
  if (!name.ends_with(kImage)) return std::ranges::find(kOthers, name) != std::end(kOthers);
  return std::ranges::none_of(kBytes, [&](std::string_view prefix) { return name.starts_with(prefix); });
}

std::optional<uint32_t> number_of(std::string_view text) {
  uint32_t number = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (code != std::errc() || end != text.data() + text.size() || (text.size() > 1 && text[0] == '0')) return std::nullopt;
  return number;
}

std::string area_name(const AddressSpace::Area& area) {
  std::string name = fmt::format("{:x}-{:x}", area.vma->start, area.vma->end);
  std::string_view what = area.path;
  if (what.ends_with(" (deleted)")) what.remove_suffix(std::string_view(" (deleted)").size());
  what = what.substr(what.rfind('/') + 1).substr(0, kLongestName);
  if (what.starts_with('[') && what.ends_with(']')) what = what.substr(1, what.size() - 2);  // [heap]
  if (what.empty()) return name;
  name += '.';
  for (const char c : what) name += static_cast<unsigned char>(c) < ' ' || c == '\x7f' ? '?' : c;
  return name;
}

}  // namespace faultline::browse
