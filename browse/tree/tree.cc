#include "browse/tree/tree.h"

#include <fcntl.h>

#include <algorithm>

#include "browse/summary.h"
#include "browse/tree/folders.h"
#include "core/image/json.h"

namespace faultline::browse {

namespace {

constexpr size_t kTextBytes = 4 << 20;
// A text in a file takes a descriptor; sixteen of them are kept.
constexpr size_t kLeastWeight = 256, kFileWeight = kTextBytes / 16;
constexpr size_t kMemoryText = 1 << 20;
constexpr uint32_t kThreadShift = 8;  // of the number of a thread, in a node
// What all of user space of x86-64 and aarch64 takes with four levels of page tables; areas above make it more.
constexpr uint64_t kUserSpace = uint64_t{1} << 47;

using Entries = std::vector<Folder::Entry>;

struct Name {
  const char* name;
  NodeKind kind;
};
constexpr Name kRootNames[] = {{"tasks", NodeKind::kTasks}, {"tree", NodeKind::kTree}, {"cores", NodeKind::kCores}, {"images", NodeKind::kImages}, {"raw", NodeKind::kRaw}};
constexpr const char* kSummaryNames[] = {"summary.txt", "summary.json"};
constexpr Name kTaskNames[] = {{"mem", NodeKind::kMem}, {"areas", NodeKind::kAreas}, {"fd", NodeKind::kFds}, {"fdinfo", NodeKind::kFdInfos}, {"threads", NodeKind::kThreads}};

Entries named(std::span<const Name> names, uint32_t task = 0) {
  Entries entries;
  for (const Name& n : names) entries.push_back({n.name, {n.kind, task, 0}});
  return entries;
}

template <typename Table>
void append(Entries& entries, std::span<Table> table, Node first) {
  for (uint32_t i = 0; i < table.size(); ++i) entries.push_back({table[i].name, {first.kind, first.task, first.index | i}});
}

std::vector<uint32_t> sorted(std::vector<uint32_t> numbers) {
  std::ranges::sort(numbers);
  return numbers;
}

Vaddr end_of_memory(const AddressSpace& memory) {
  Vaddr end = kUserSpace;
  // The vsyscall page of x86-64 lies where no file offset leads.
  for (const AddressSpace::Area& area : memory.areas())
    if (area.vma->end <= image::kUserSpaceEnd) end = std::max<Vaddr>(end, area.vma->end);
  return end;
}

}  // namespace

Tree::Tree(Snapshot& snapshot, const Options& options) : snapshot_(snapshot), options_(options), texts_(kTextBytes) {
  for (const Images::File& file : snapshot.images().files()) image_bytes_ += file.size;
  if (options.against) diff_pids_ = all_pids(snapshot, *options.against);
}

mode_t Tree::type_of(Node node) {
  switch (node.kind) {
    case NodeKind::kRoot: case NodeKind::kTasks: case NodeKind::kTree: case NodeKind::kCores: case NodeKind::kImages: case NodeKind::kRaw:
    case NodeKind::kTask: case NodeKind::kAreas: case NodeKind::kFds: case NodeKind::kFdInfos: case NodeKind::kThreads:
    case NodeKind::kThread: case NodeKind::kTreeTask: case NodeKind::kObjects:
    case NodeKind::kDiff: case NodeKind::kDiffTask: case NodeKind::kDiffHere: case NodeKind::kDiffThere: return S_IFDIR;
    case NodeKind::kTaskLink: case NodeKind::kFd: case NodeKind::kTreeLink: case NodeKind::kCoreLink: return S_IFLNK;
    default: return S_IFREG;
  }
}

bool Tree::costly(Node node) {
  switch (node.kind) {
    case NodeKind::kMem: case NodeKind::kArea: case NodeKind::kRawFile: return false;
    default: return type_of(node) == S_IFREG;
  }
}

Result<const Snapshot::Process*> Tree::process(Node node) const {
  if (node.task >= snapshot_.processes().size()) return error(ENOENT, "there is no process with the number {}", node.task);
  return &snapshot_.processes()[node.task];
}

Result<Tree::Thread> Tree::thread(Node node) const {
  const auto* process = TRY(this->process(node));
  const uint32_t number = node.kind == NodeKind::kThread ? node.index : node.index >> kThreadShift;
  const auto tids = sorted(process->threads);
  if (number >= tids.size()) return error(ENOENT, "process {} has no thread with the number {}", process->pid, number);
  return Thread{process, tids[number]};
}

Result<image::FdinfoEntry> Tree::descriptor(Node node) {
  const auto* process = TRY(this->process(node));
  const auto fds = TRY(snapshot_.fds(process->pid));
  if (node.index >= fds->size()) return error(ENOENT, "process {} has no descriptor with the number {}", process->pid, node.index);
  return (*fds)[node.index];
}

bool Tree::dead(const Snapshot::Process& process) {
  const auto core = snapshot_.core(process.pid);
  return core && (*core)->tc && (*core)->tc->task_state == image::kTaskDead;
}

Failure Tree::told(const Error& failure) {
  snapshot_.note(failure);
  return Failure(Error{EIO, failure.what});
}

Result<std::unique_ptr<Folder>> Tree::folder(Node node) {
  auto made = make_folder(node);
  if (!made) return told(made.error());
  return made;
}

Result<std::unique_ptr<Folder>> Tree::make_folder(Node node) {
  switch (node.kind) {
    case NodeKind::kRoot: {
      Entries entries = named(kRootNames);
      for (uint32_t i = 0; i < std::size(kSummaryNames); ++i) entries.push_back({kSummaryNames[i], {NodeKind::kSummary, 0, i}});
      if (options_.against) entries.push_back({"diff", {NodeKind::kDiff, 0, 0}});
      for (uint32_t i = 0; i < object_folders().size(); ++i) entries.push_back({object_folders()[i].name, {NodeKind::kObjects, i, 0}});
      return fixed_folder(std::move(entries));
    }
    case NodeKind::kTasks: {
      std::vector<uint32_t> pids;
      for (const auto& p : snapshot_.processes()) pids.push_back(p.pid);
      return numbered_folder(std::move(pids), {NodeKind::kTask, 0, true});
    }
    case NodeKind::kCores: {
      Entries entries;
      for (uint32_t i = 0; i < snapshot_.processes().size(); ++i)
        if (const uint32_t pid = snapshot_.processes()[i].pid; snapshot_.images().file(fmt::format("mm-{}.img", pid))) entries.push_back({std::to_string(pid), {NodeKind::kCore, i, 0}});
      return fixed_folder(std::move(entries));
    }
    case NodeKind::kImages: return json_folder(snapshot_.images());
    case NodeKind::kRaw: return raw_folder(snapshot_.images());
    case NodeKind::kTree: return tree_folder(snapshot_, std::nullopt);
    case NodeKind::kObjects: return objects(node.task);
    case NodeKind::kDiff: case NodeKind::kDiffTask: case NodeKind::kDiffHere: case NodeKind::kDiffThere: return make_diff_folder(node);
    default: return make_task_folder(node);
  }
}

Result<std::unique_ptr<Folder>> Tree::make_task_folder(Node node) {
  const auto& process = *TRY(this->process(node));
  switch (node.kind) {
    case NodeKind::kTask: {
      Entries entries = named(kTaskNames, node.task);
      append(entries, task_files(), {NodeKind::kTaskText, node.task, 0});
      if (dead(process)) return fixed_folder(std::move(entries));
      append(entries, task_links(), {NodeKind::kTaskLink, node.task, 0});
      // A link, so that whoever goes through tasks/ (grep -r, tar) meets the memory once, in areas/.
      entries.push_back({"core", {NodeKind::kCoreLink, node.task, 0}});
      return fixed_folder(std::move(entries));
    }
    case NodeKind::kTreeTask: return tree_folder(snapshot_, node.task);
    case NodeKind::kThreads: return numbered_folder(sorted(process.threads), {NodeKind::kThread, node.task, false});
    case NodeKind::kThread: {
      Entries entries;
      append(entries, thread_files(), {NodeKind::kThreadText, node.task, node.index << kThreadShift});
      return fixed_folder(std::move(entries));
    }
    case NodeKind::kAreas:
      if (dead(process)) return fixed_folder({});
      return areas_folder(TRY(snapshot_.memory(process.pid)), node.task);
    case NodeKind::kFds:
    case NodeKind::kFdInfos: {
      std::vector<uint32_t> numbers;
      if (!dead(process))
        for (const auto& fd : *TRY(snapshot_.fds(process.pid))) numbers.push_back(fd.fd);
      return numbered_folder(std::move(numbers), {node.kind == NodeKind::kFds ? NodeKind::kFd : NodeKind::kFdInfo, node.task, false});
    }
    default: return error(ENOTDIR, "this is no folder");
  }
}

Result<std::shared_ptr<const std::vector<std::string>>> Tree::object_names(uint32_t table) {
  using Names = std::vector<std::string>;
  if (table >= object_folders().size()) return error(ENOENT, "there is no such folder");
  const auto& folder = object_folders()[table];
  return texts_.get<Names>(std::string("names ") + folder.name, kLeastWeight, [&]() -> Result<std::shared_ptr<const Names>> {
    return std::make_shared<const Names>(TRY(folder.list(snapshot_)));
  });
}

Result<std::unique_ptr<Folder>> Tree::objects(uint32_t table) {
  auto names = TRY(object_names(table));
  const bool memory = std::string_view(object_folders()[table].name) == "shm";
  return objects_folder(std::move(names), table, memory ? snapshot_.shared_objects() : std::vector<uint32_t>());
}

Result<Node> Tree::find(Node at, std::string_view name) {
  const auto folder = TRY(this->folder(at));
  if (const auto node = folder->find(name)) return *node;
  return error(ENOENT, "there is no {}", name);
}

Result<struct stat> Tree::stat(Node node) {
  struct stat st = {};
  st.st_ino = node.ino();
  st.st_mode = type_of(node) | (options_.for_all ? 0444 : 0400);
  if (S_ISDIR(st.st_mode)) st.st_mode |= options_.for_all ? 0111 : 0100;
  if (S_ISLNK(st.st_mode)) st.st_mode |= 0777;
  st.st_nlink = 1;  // of a folder: the number of its folders is not told, so that find(1) does not rely on it
  st.st_uid = options_.uid;
  st.st_gid = options_.gid;
  st.st_blksize = kPageSize;
  st.st_atim = st.st_mtim = st.st_ctim = snapshot_.time();
  if (S_ISLNK(st.st_mode)) st.st_size = static_cast<off_t>(TRY(link(node)).size());
  if (!S_ISREG(st.st_mode)) return st;
  const auto data = TRY(open(node));
  st.st_size = static_cast<off_t>(data->size());
  st.st_blocks = static_cast<blkcnt_t>((data->stored() + 511) / 512);
  return st;
}

Result<std::string> Tree::link(Node node) {
  auto target = make_link(node);
  if (!target) return told(target.error());
  // No link can be empty.
  if (target->empty()) return std::string("(unknown)");
  return target;
}

Result<std::string> Tree::make_link(Node node) {
  const auto& process = *TRY(this->process(node));
  if (node.kind == NodeKind::kFd) return snapshot_.path_of(TRY(descriptor(node)).id);
  if (node.kind == NodeKind::kTaskLink && node.index < task_links().size()) return task_links()[node.index].make(snapshot_, process);
  if (node.kind == NodeKind::kCoreLink) return fmt::format("../../cores/{}", process.pid);
  if (node.kind != NodeKind::kTreeLink) return error(EINVAL, "this is no link");
  // tree/1/2/task leads up over 2, 1 and tree.
  std::string up = "../../";
  size_t depth = 0;
  for (const auto* p = &process; (p = snapshot_.process(p->ppid)) && ++depth < snapshot_.processes().size();) up += "../";
  return fmt::format("{}tasks/{}", up, process.pid);
}

Result<FileDataPtr> Tree::open(Node node) {
  auto data = make_data(node);
  if (!data) return told(data.error());
  return data;
}

Result<FileDataPtr> Tree::make_data(Node node) {
  switch (node.kind) {
    case NodeKind::kMem:
    case NodeKind::kArea: return make_memory(node);
    case NodeKind::kRawFile: {
      const auto& files = snapshot_.images().files();
      if (node.index >= files.size()) return error(ENOENT, "there is no image with the number {}", node.index);
      return raw_data(snapshot_.images(), files[node.index]);
    }
    case NodeKind::kObject: return make_object(node);
    case NodeKind::kDiffHereRun:
    case NodeKind::kDiffThereRun: return make_diff_run(node);
    case NodeKind::kSharedMemory: return pages_data(TRY(snapshot_.shared_pages(node.index)), shared_object_size(snapshot_, node.index));
    default: return kept(node);
  }
}

Result<FileDataPtr> Tree::make_memory(Node node) {
  const auto& process = *TRY(this->process(node));
  if (node.kind == NodeKind::kMem && dead(process)) return text_data("");
  auto memory = TRY(snapshot_.memory(process.pid));
  if (node.kind == NodeKind::kMem) {
    const Vaddr end = end_of_memory(*memory);
    return memory_data(std::move(memory), 0, end);
  }
  if (node.index >= memory->areas().size()) return error(ENOENT, "process {} has no area with the number {}", process.pid, node.index);
  const auto& vma = *memory->areas()[node.index].vma;
  return memory_data(std::move(memory), vma.start, vma.end);
}

Result<FileDataPtr> Tree::make_object(Node node) {
  const auto names = TRY(object_names(node.task));
  if (node.index >= names->size()) return error(ENOENT, "there is no such object");
  return object_data(TRY(object_folders()[node.task].open(snapshot_, (*names)[node.index])));
}

Result<FileDataPtr> Tree::kept(Node node) {
  const auto weigh = [](const FileData& data) { return kLeastWeight + (data.size() <= kMemoryText ? data.size() : kFileWeight); };
  return texts_.get_weighed<FileData>(std::to_string(node.ino()), weigh, [&] { return make_kept(node); });
}

Result<FileDataPtr> Tree::make_kept(Node node) {
  if (node.kind == NodeKind::kCore) return core_data(TRY(ElfCore::make(snapshot_, TRY(process(node))->pid)));
  return text_data(TRY(make_text(node)));
}

Result<std::string> Tree::make_text(Node node) {
  switch (node.kind) {
    case NodeKind::kImageJson: return image_text(node);
    case NodeKind::kSummary: return node.index == 0 ? summary_text(summarize(snapshot_)) : summary_json(summarize(snapshot_));
    case NodeKind::kDiffSummary:
    case NodeKind::kDiffText: return diff_text_of(node);
    default: return task_text(node);
  }
}

Result<std::string> Tree::task_text(Node node) {
  const auto& process = *TRY(this->process(node));
  switch (node.kind) {
    case NodeKind::kTaskText:
      if (node.index < task_files().size()) return task_files()[node.index].make(snapshot_, process);
      break;
    case NodeKind::kThreadText:
      if (const uint32_t number = node.index & ((1 << kThreadShift) - 1); number < thread_files().size())
        return thread_files()[number].make(snapshot_, process, TRY(thread(node)).tid);
      break;
    case NodeKind::kFdInfo: return fdinfo_text(snapshot_, TRY(descriptor(node)));
    default: break;
  }
  return error(ENOENT, "there is no such file");
}

Result<std::string> Tree::image_text(Node node) {
  auto& images = snapshot_.images();
  if (node.index >= images.files().size()) return error(ENOENT, "there is no image with the number {}", node.index);
  const std::string& name = images.files()[node.index].name;
  const UniqueFd fd = TRY(TRY(images.with(name))->open_file(name, O_RDONLY | O_NONBLOCK));
  return TRY(image::decode_json(fd.get(), images.name() + "/" + name)) + "\n";
}

}  // namespace faultline::browse
