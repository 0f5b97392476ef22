#include "core/image/checkpoint.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <set>

#include "core/base/mapping.h"

namespace faultline::image {

namespace {

// Brings the older forms of an entry into today's (formats/image-files.md, section 8.3).
void modernise(PagemapEntry& entry) {
  if (entry.in_parent.value_or(false)) entry.flags = kPageParent;
  if (!entry.flags) entry.flags = kPagePresent;
  if (!entry.nr_pages) entry.nr_pages = entry.compat_nr_pages;
  entry.in_parent.reset();
}

Result<std::vector<PipeData>> load_pipe_data(const ImageDir& dir, const std::string& file, const Kind& kind, bool v1) {
  Reader reader = TRY(Reader::open(dir, file, kind, v1));
  std::vector<PipeData> all;
  while (auto entry = TRY(reader.next<PipeDataEntry>())) {
    std::string bytes = TRY(reader.payload(entry->bytes));
    all.push_back({std::move(*entry), std::move(bytes)});
  }
  return all;
}

class Loader {
 public:
  explicit Loader(const ImageDir& dir) : dir_(dir) {}

  Result<Checkpoint> run() {
    TRY(inventory());
    TRY(tasks());
    TRY(files());
    TRY(shared_memory());
    return std::move(c_);
  }

 private:
  template <typename... Args>
  Failure bad(fmt::format_string<Args...> format, Args&&... args) const {
    return error(EBADMSG, "{}: {}", dir_.name(), fmt::format(format, std::forward<Args>(args)...));
  }

  Result<void> inventory() {
    if (!dir_.exists(kInventoryFile))
      return error(ENOENT, "{}: there is no inventory.img: this is not a checkpoint, or its dump did not come to its end", dir_.name());
    c_.inventory = TRY(read_one<InventoryEntry>(dir_, kInventoryFile, kInventory));
    if (c_.inventory.img_version != 1 && c_.inventory.img_version != 2)
      return bad("inventory.img: image version {} is not known (a pre-dump has version 0 and cannot be restored)", c_.inventory.img_version);
    v1_ = c_.inventory.img_version == 1;
    if (!c_.inventory.fdinfo_per_id) return bad("inventory.img: fdinfo_per_id is missing; such old checkpoints cannot be read");
    return {};
  }

  Result<void> tasks() {
    std::set<uint32_t> ids;
    for (PstreeEntry& tree : TRY(read_all<PstreeEntry>(dir_, "pstree.img", kPstree, v1_))) {
      if (c_.tasks.empty() ? tree.ppid != 0 : !ids.contains(tree.ppid))
        return bad("pstree.img: the parent {} of pid {} does not stand before it", tree.ppid, tree.pid);
      Task task = TRY(this->task(std::move(tree)));
      for (uint32_t tid : task.tree.threads)
        if (tid == 0 || tid > (1u << 30) || !ids.insert(tid).second)
          return bad("pstree.img: thread {} of pid {} is not valid, or occurs twice", tid, task.tree.pid);
      c_.tasks.push_back(std::move(task));
    }
    if (c_.tasks.empty()) return bad("pstree.img holds no process");
    if (c_.tasks.front().dead()) return bad("the root process {} is a zombie", c_.tasks.front().pid());
    return {};
  }

  Result<CoreEntry> core(uint32_t tid) {
    auto core = TRY(read_one<CoreEntry>(dir_, fmt::format("core-{}.img", tid), kCore, v1_));
    if (core.mtype != March::X86_64 && core.mtype != March::AARCH64) return bad("core-{}.img: architecture {} is not known", tid, static_cast<int>(core.mtype));
    return core;
  }

  Result<Task> task(PstreeEntry tree) {
    Task task;
    task.core = TRY(core(tree.pid));
    task.tree = std::move(tree);
    const uint32_t pid = task.tree.pid;
    if (!task.core.tc) return bad("core-{}.img has no task part", pid);
    const uint32_t state = task.core.tc->task_state;
    if (state != kTaskAlive && state != kTaskDead && state != kTaskStopped) return bad("core-{}.img: task state {} is not known", pid, state);
    if (task.dead()) {
      task.tree.threads = {pid};  // CRIU 4.2 writes no meaningful thread for a zombie
      return task;
    }
    if (task.tree.threads.empty()) task.tree.threads.push_back(pid);
    if (task.tree.threads.front() != pid) return bad("pstree.img: pid {} is not the first of its threads", pid);
    TRY(living(task));
    return task;
  }

  Result<void> living(Task& task) {
    const uint32_t pid = task.tree.pid;
    for (size_t i = 1; i < task.tree.threads.size(); ++i) task.threads.push_back(TRY(core(task.tree.threads[i])));
    if (!task.core.thread_core || !task.core.thread_info) return bad("core-{}.img has no registers or no thread part", pid);
    for (size_t i = 0; i < task.threads.size(); ++i)
      if (!task.threads[i].thread_core || !task.threads[i].thread_info)
        return bad("core-{}.img has no registers or no thread part", task.tree.threads[i + 1]);
    task.ids = TRY(read_one<TaskKobjIdsEntry>(dir_, fmt::format("ids-{}.img", pid), kIds, v1_));
    task.mm = TRY(read_one<MmEntry>(dir_, fmt::format("mm-{}.img", pid), kMm, v1_));
    task.fs = TRY(read_one<FsEntry>(dir_, fmt::format("fs-{}.img", pid), kFs, v1_));
    task.fds = TRY(read_all<FdinfoEntry>(dir_, fmt::format("fdinfo-{}.img", task.ids->files_id), kFdinfo, v1_));
    std::sort(task.fds.begin(), task.fds.end(), [](const FdinfoEntry& a, const FdinfoEntry& b) { return a.fd < b.fd; });
    for (size_t i = 0; i < task.fds.size(); ++i)
      if (task.fds[i].fd > (1u << 30) || (i && task.fds[i].fd == task.fds[i - 1].fd))
        return bad("fdinfo-{}.img: descriptor {} is not valid, or occurs twice", task.ids->files_id, task.fds[i].fd);
    TRY(areas(pid, *task.mm));
    task.pagemap = TRY(pagemap(fmt::format("pagemap-{}.img", pid)));
    return {};
  }

  Result<Pagemap> pagemap(const std::string& file) {
    if (!dir_.exists(file)) return error(ENOENT, "{}/{} is missing: without it there would be zeros in memory", dir_.name(), file);
    return load_pagemap(dir_, file, v1_);
  }

  Result<void> areas(uint32_t pid, const MmEntry& mm) {
    uint64_t end = 0;
    for (const VmaEntry& vma : mm.vmas) {
      if (vma.status & kVmaGuard) continue;
      if (vma.start % kPageSize || vma.end % kPageSize || vma.start >= vma.end || vma.start < end)
        return bad("mm-{}.img: the area {:#x}-{:#x} is not aligned, empty, or overlaps another", pid, vma.start, vma.end);
      if (vma.end > kUserSpaceEnd && !(vma.status & kVmaVsyscall)) return bad("mm-{}.img: the area {:#x}-{:#x} is outside user space", pid, vma.start, vma.end);
      end = vma.end;
    }
    return {};
  }

  Result<void> files() {
    if (!dir_.exists("files.img"))
      return error(ENOTSUP, "{}: there is no files.img: checkpoints of versions that wrote one image per kind of file cannot be restored", dir_.name());
    for (FileEntry& file : TRY(read_all<FileEntry>(dir_, "files.img", kFiles, v1_))) {
      const auto [at, fresh] = c_.files.try_emplace(file.id, file);
      if (!fresh && at->second.type == FdTypes::REG) at->second = std::move(file);
      else if (!fresh && file.type != FdTypes::REG) return bad("files.img: file id {} occurs twice", file.id);
    }
    for (const Task& task : c_.tasks)
      for (const FdinfoEntry& fd : task.fds)
        if (!c_.file(fd.id)) return bad("descriptor {} of pid {} refers to file id {}, which files.img does not have", fd.fd, task.pid(), fd.id);
    c_.remaps = TRY(read_all<RemapFilePathEntry>(dir_, "remap-fpath.img", kRemapFpath, v1_));
    c_.memfds = TRY(read_all<MemfdInodeEntry>(dir_, "memfd.img", kMemfdInode, v1_));
    c_.pipes = TRY(load_pipe_data(dir_, "pipes-data.img", kPipesData, v1_));
    c_.fifos = TRY(load_pipe_data(dir_, "fifo-data.img", kFifoData, v1_));
    c_.ttys = TRY(read_all<TtyInfoEntry>(dir_, "tty-info.img", kTtyInfo, v1_));
    c_.tty_data = TRY(read_all<TtyDataEntry>(dir_, "tty-data.img", kTtyData, v1_));
    for (InterruptedCallEntry& call : TRY(read_all<InterruptedCallEntry>(dir_, kInterruptedCallsFile, kInterruptedCalls)))
      c_.interrupted.emplace(call.tid, call);
    Reader reader = TRY(Reader::open(dir_, "sk-queues.img", kSkQueues, v1_));
    while (auto entry = TRY(reader.next<SkPacketEntry>())) {
      std::string bytes = TRY(reader.payload(entry->length));
      c_.packets.push_back({std::move(*entry), std::move(bytes)});
    }
    return {};
  }

  Result<void> shared(uint64_t shmid) {
    if (!c_.shared.contains(shmid)) c_.shared[shmid] = TRY(pagemap(fmt::format("pagemap-shmem-{}.img", shmid)));
    return {};
  }

  Result<void> shared_memory() {
    for (const MemfdInodeEntry& memfd : c_.memfds) TRY(shared(memfd.shmid));
    for (const Task& task : c_.tasks)
      if (task.mm)
        for (const VmaEntry& vma : task.mm->vmas)
          if (vma.status & kVmaAnonShared) TRY(shared(vma.shmid));
    return {};
  }

  const ImageDir& dir_;
  bool v1_ = false;
  Checkpoint c_;
};

}  // namespace

namespace {

Result<void> read_runs(const ImageDir& dir, const std::string& file, bool v1, Pagemap& map) {
  Reader reader = TRY(Reader::open(dir, file, kPagemap, v1));
  if (!reader.exists()) return {};
  auto head = TRY(reader.next<PagemapHead>());
  if (!head) return reader.bad(reader.offset(), "a pagemap_head is expected here");
  map.pages_id = head->pages_id;
  uint64_t end = 0;
  for (;;) {
    const uint64_t at = reader.offset();
    auto entry = TRY(reader.next<PagemapEntry>());
    if (!entry) return {};
    modernise(*entry);
    if (entry->vaddr % kPageSize || entry->vaddr >= kUserSpaceEnd || *entry->nr_pages > (kUserSpaceEnd - entry->vaddr) / kPageSize)
      return reader.bad(at, fmt::format("the run of {} pages at {:#x} is not aligned or too long", *entry->nr_pages, entry->vaddr));
    if (entry->vaddr < end) return reader.bad(at, fmt::format("the run of pages at {:#x} overlaps the one before it", entry->vaddr));
    end = entry->vaddr + *entry->nr_pages * kPageSize;
    if (*entry->nr_pages) map.entries.push_back(std::move(*entry));
  }
}

}  // namespace

PagemapPart read_pagemap(const ImageDir& dir, const std::string& file, bool v1) {
  PagemapPart part;
  if (auto done = read_runs(dir, file, v1, part.map); !done) part.damage = done.error();
  return part;
}

Result<Pagemap> load_pagemap(const ImageDir& dir, const std::string& file, bool v1) {
  Pagemap map;
  TRY(read_runs(dir, file, v1, map));
  uint64_t present = 0;
  for (const PagemapEntry& entry : map.entries)
    if (*entry.flags & kPagePresent) present += *entry.nr_pages;
  if (present == 0) return map;
  const std::string pages = fmt::format("pages-{}.img", map.pages_id);
  const UniqueFd fd = TRY(dir.open_file(pages, O_RDONLY | O_NONBLOCK));  // not to wait, should it be a FIFO
  struct stat st;
  if (::fstat(fd.get(), &st) < 0) return sys_error("{}/{}", dir.name(), pages);
  if (static_cast<uint64_t>(st.st_size) / kPageSize < present)
    return error(EBADMSG, "{}/{}: has {} pages, but {} refers to {}", dir.name(), pages, static_cast<uint64_t>(st.st_size) / kPageSize, file, present);
  return map;
}

Result<Checkpoint> Checkpoint::load(const ImageDir& dir) { return Loader(dir).run(); }

const FileEntry* Checkpoint::file(uint32_t id) const {
  const auto at = files.find(id);
  return at == files.end() ? nullptr : &at->second;
}

}  // namespace faultline::image
