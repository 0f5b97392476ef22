#include "browse/snapshot.h"

#include <algorithm>
#include <charconv>

#include "core/base/log.h"
#include "core/image/present.h"

namespace faultline::browse {

namespace {

constexpr size_t kCacheBytes = 8 << 20;
// A message takes more memory than its bytes in the image.
constexpr size_t kWeightFactor = 4, kLeastWeight = 1 << 10;
constexpr size_t kMaxNoted = 1000;
constexpr uint32_t kHighestPid = 1u << 30;

// "PREFIX123.img"
std::optional<uint32_t> number_in(std::string_view name, std::string_view prefix) {
  constexpr std::string_view kEnd = ".img";
  if (!name.starts_with(prefix) || !name.ends_with(kEnd) || name.size() <= prefix.size() + kEnd.size()) return std::nullopt;
  const std::string_view digits = name.substr(prefix.size(), name.size() - prefix.size() - kEnd.size());
  uint32_t number = 0;
  const auto [end, code] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  if (code != std::errc() || end != digits.data() + digits.size() || (digits.size() > 1 && digits[0] == '0')) return std::nullopt;
  return number;
}

bool later(const timespec& a, const timespec& b) { return a.tv_sec != b.tv_sec ? a.tv_sec > b.tv_sec : a.tv_nsec > b.tv_nsec; }

// The areas that can be shown: sorted, whole pages, without overlaps.
std::vector<const image::VmaEntry*> usable_areas(const image::MmEntry& mm, size_t& unusable) {
  std::vector<const image::VmaEntry*> areas;
  for (const image::VmaEntry& vma : mm.vmas) {
    if (vma.status & image::kVmaGuard) continue;
    const bool in_order = areas.empty() || vma.start >= areas.back()->end;
    // The end of the address space itself would have no number; the vsyscall page of x86-64 ends before it.
    if (vma.start % kPageSize || vma.end % kPageSize || vma.start >= vma.end || !in_order ||
        (vma.end > image::kUserSpaceEnd && !(vma.status & image::kVmaVsyscall)))
      ++unusable;
    else
      areas.push_back(&vma);
  }
  return areas;
}

}  // namespace

Snapshot::Snapshot(std::unique_ptr<Images> images) : images_(std::move(images)), cache_(kCacheBytes) {}

Result<std::unique_ptr<Snapshot>> Snapshot::open(std::unique_ptr<Images> images) {
  std::unique_ptr<Snapshot> snapshot(new Snapshot(std::move(images)));
  const Images& all = snapshot->images();
  const auto* inventory = all.file(image::kInventoryFile);
  const bool any = inventory || all.file("pstree.img") || std::ranges::any_of(all.files(), [](const Images::File& f) { return number_in(f.name, "mm-").has_value(); });
  if (!any) return error(ENOENT, "{}: this is not a checkpoint: it has neither inventory.img nor pstree.img", snapshot->name());
  if (!inventory) snapshot->damage_.push_back("inventory.img is missing: the dump did not come to its end");
  auto read = [&]() -> Result<image::InventoryEntry> {
    return image::read_one<image::InventoryEntry>(*TRY(snapshot->images().with(image::kInventoryFile)), image::kInventoryFile, image::kInventory);
  };
  if (inventory) {
    if (auto entry = read()) snapshot->inventory_ = std::move(*entry);
    else snapshot->damage_.push_back(entry.error().what);
    snapshot->time_ = inventory->mtime;
  }
  snapshot->v1_ = snapshot->inventory_ && snapshot->inventory_->img_version == 1;
  if (!inventory)
    for (const Images::File& file : all.files())
      if (later(file.mtime, snapshot->time_)) snapshot->time_ = file.mtime;
  snapshot->load_processes();
  for (const std::string& what : snapshot->damage_) snapshot->note({EIO, what});
  return snapshot;
}

void Snapshot::load_processes() {
  const auto read = [&]() -> Result<void> {
    image::Reader reader = TRY(this->reader("pstree.img", image::kPstree));
    if (!reader.exists()) return error(ENOENT, "{}/pstree.img is missing", name());
    while (auto entry = TRY(reader.next<image::PstreeEntry>())) {
      if (entry->pid == 0 || entry->pid > kHighestPid) continue;
      Process process = {.pid = entry->pid, .ppid = entry->ppid, .pgid = entry->pgid, .sid = entry->sid, .threads = std::move(entry->threads), .children = {}};
      if (process.threads.empty() || process.threads[0] != process.pid) process.threads.insert(process.threads.begin(), process.pid);
      // CRIU 4.2 writes no meaningful thread for a zombie; threads are told by their images.
      std::erase_if(process.threads, [&](uint32_t tid) { return tid != process.pid && !images_->file(fmt::format("core-{}.img", tid)); });
      processes_.push_back(std::move(process));
    }
    return {};
  };
  auto done = read();
  if (!done) {
    damage_.push_back(done.error().what);
    for (const Images::File& file : images_->files())
      if (const auto pid = number_in(file.name, "mm-"); pid && *pid > 0 && *pid <= kHighestPid)
        if (std::ranges::find(processes_, *pid, &Process::pid) == processes_.end()) processes_.push_back({.pid = *pid, .ppid = 0, .pgid = 0, .sid = 0, .threads = {*pid}, .children = {}});
  }
  std::ranges::stable_sort(processes_, {}, &Process::pid);
  const auto twice = std::ranges::unique(processes_, {}, &Process::pid);
  if (!twice.empty()) damage_.push_back(fmt::format("{}/pstree.img: {} processes occur twice", name(), twice.size()));
  processes_.erase(twice.begin(), twice.end());
  for (size_t i = 0; i < processes_.size(); ++i)
    if (const Process* parent = process(processes_[i].ppid); parent && parent != &processes_[i])
      processes_[static_cast<size_t>(parent - processes_.data())].children.push_back(i);
}

const Snapshot::Process* Snapshot::process(uint32_t pid) const {
  const auto at = std::ranges::lower_bound(processes_, pid, {}, &Process::pid);
  return at != processes_.end() && at->pid == pid ? &*at : nullptr;
}

template <typename T, typename Make>
Snapshot::Shared<T> Snapshot::kept(const std::string& file, const Make& make) {
  const Images::File* listed = images_->file(file);
  const size_t weight = kLeastWeight + (listed ? listed->size * kWeightFactor : 0);
  return cache_.get<T>(file, weight, [&]() -> Shared<T> { return std::make_shared<const T>(TRY(make())); });
}

template <typename Message>
Snapshot::Shared<Message> Snapshot::one(const std::string& file, const image::Kind& kind) {
  return kept<Message>(file, [&]() -> Result<Message> { return image::read_one<Message>(*TRY(images_->with(file)), file, kind, v1_); });
}

Snapshot::Shared<image::CoreEntry> Snapshot::core(uint32_t tid) { return one<image::CoreEntry>(fmt::format("core-{}.img", tid), image::kCore); }
Snapshot::Shared<image::TaskKobjIdsEntry> Snapshot::ids(uint32_t pid) { return one<image::TaskKobjIdsEntry>(fmt::format("ids-{}.img", pid), image::kIds); }
Snapshot::Shared<image::MmEntry> Snapshot::mm(uint32_t pid) { return one<image::MmEntry>(fmt::format("mm-{}.img", pid), image::kMm); }
Snapshot::Shared<image::FsEntry> Snapshot::fs(uint32_t pid) { return one<image::FsEntry>(fmt::format("fs-{}.img", pid), image::kFs); }

Snapshot::Shared<std::vector<image::FdinfoEntry>> Snapshot::fds(uint32_t pid) {
  // Old images name it after the process (formats/image-files.md, section 5).
  const bool per_id = !inventory_ || inventory_->fdinfo_per_id.value_or(false);
  const std::string file = fmt::format("fdinfo-{}.img", per_id ? TRY(ids(pid))->files_id : pid);
  return kept<std::vector<image::FdinfoEntry>>(file, [&]() -> Result<std::vector<image::FdinfoEntry>> {
    if (!images_->file(file)) return error(ENOENT, "{}/{}: this image is missing", name(), file);
    auto all = TRY(entries<image::FdinfoEntry>(file, image::kFdinfo));
    std::ranges::sort(all, {}, &image::FdinfoEntry::fd);
    return all;
  });
}

Snapshot::Shared<Snapshot::Files> Snapshot::files() {
  return kept<Files>("files.img", [&]() -> Result<Files> {
    Files files;
    for (image::FileEntry& file : TRY(entries<image::FileEntry>("files.img", image::kFiles))) {
      // Where two share one id (old images), the one that is not a REG counts.
      const auto [at, fresh] = files.try_emplace(file.id, file);
      if (!fresh && at->second.type == image::FdTypes::REG) at->second = std::move(file);
    }
    return files;
  });
}

Snapshot::Shared<Snapshot::Remaps> Snapshot::remaps() {
  return kept<Remaps>("remap-fpath.img", [&]() -> Result<Remaps> {
    Remaps remaps;
    for (image::RemapFilePathEntry& remap : TRY(entries<image::RemapFilePathEntry>("remap-fpath.img", image::kRemapFpath)))
      remaps.try_emplace(remap.orig_id, std::move(remap));
    return remaps;
  });
}

Snapshot::Shared<std::vector<image::MemfdInodeEntry>> Snapshot::memfds() {
  return kept<std::vector<image::MemfdInodeEntry>>("memfd.img", [&] { return entries<image::MemfdInodeEntry>("memfd.img", image::kMemfdInode); });
}

std::vector<uint32_t> Snapshot::shared_objects() const {
  std::vector<uint32_t> objects;
  for (const Images::File& file : images_->files())
    if (const auto id = number_in(file.name, "pagemap-shmem-")) objects.push_back(*id);
  std::ranges::sort(objects);
  return objects;
}

Snapshot::Shared<StoredPages> Snapshot::pages(const std::string& pagemap) {
  const Images::File* listed = images_->file(pagemap);
  const size_t weight = kLeastWeight + (listed ? listed->size * kWeightFactor : 0);
  return cache_.get<StoredPages>(pagemap, weight, [&]() -> Shared<StoredPages> {
    auto pages = TRY(images_->memory(pagemap));
    if (!pages->damage().empty()) note({EIO, pages->damage()});
    return pages;
  });
}

Snapshot::Shared<StoredPages> Snapshot::shared_pages(uint64_t shmid) { return pages(fmt::format("pagemap-shmem-{}.img", shmid)); }

Snapshot::Shared<MappedFile> Snapshot::mapped_file(const image::RegFileEntry& entry) {
  return cache_.get<MappedFile>(fmt::format("file {}", entry.id), kLeastWeight, [&]() -> Shared<MappedFile> { return MappedFile::open(entry); });
}

void Snapshot::back_area(AddressSpace::Area& area) {
  const image::VmaEntry& vma = *area.vma;
  const auto object = [&](uint64_t shmid) {
    auto pages = shared_pages(shmid);
    if (pages) area.shared = std::move(*pages);
    else note(pages.error());
  };
  if (vma.status & image::kVmaAnonShared) return object(vma.shmid);
  if (!(vma.status & (image::kVmaFilePrivate | image::kVmaFileShared | image::kVmaMemfd))) return;
  const auto files = this->files();
  if (!files) return note(files.error());
  const auto file = (*files)->find(static_cast<uint32_t>(vma.shmid));
  if (file == (*files)->end()) return note({EBADMSG, fmt::format("{}/files.img: has no file {}, which is mapped at {:#x}", name(), vma.shmid, vma.start)});
  if (file->second.memfd) {
    const auto memfds = this->memfds();
    if (!memfds) return note(memfds.error());
    const auto memfd = std::ranges::find(**memfds, file->second.memfd->inode_id, &image::MemfdInodeEntry::inode_id);
    if (memfd != (*memfds)->end()) object(memfd->shmid);
    return;
  }
  // A file that had been deleted is no longer there; another may have its name now.
  const auto remaps = this->remaps();
  if (!file->second.reg || file->second.reg->ext.value_or(false) || !remaps || (*remaps)->contains(file->first)) return;
  auto opened = mapped_file(*file->second.reg);
  if (opened) area.file = std::move(*opened);
  else note(opened.error());
}

Snapshot::Shared<AddressSpace> Snapshot::memory(uint32_t pid) {
  const std::string key = fmt::format("memory {}", pid);
  const Images::File* listed = images_->file(fmt::format("mm-{}.img", pid));
  const size_t weight = kLeastWeight + (listed ? listed->size * kWeightFactor : 0);
  return cache_.get<AddressSpace>(key, weight, [&]() -> Shared<AddressSpace> {
    auto mm = TRY(this->mm(pid));
    size_t unusable = 0;
    std::vector<AddressSpace::Area> areas;
    for (const image::VmaEntry* vma : usable_areas(*mm, unusable)) areas.push_back({.vma = vma, .shared = {}, .file = {}, .path = {}});
    if (unusable) note({EBADMSG, fmt::format("{}/mm-{}.img: {} areas are malformed or overlap others, and are not shown", name(), pid, unusable)});
    for (AddressSpace::Area& area : areas) {
      back_area(area);
      area.path = path_of_area(*mm, *area.vma);
    }
    auto stored = pages(fmt::format("pagemap-{}.img", pid));
    if (!stored) note(stored.error());
    return std::make_shared<const AddressSpace>(std::move(mm), std::move(areas), stored ? std::move(*stored) : nullptr);
  });
}

void Snapshot::note(const Error& failure) {
  {
    std::lock_guard lock(noted_mutex_);
    if (noted_.size() >= kMaxNoted || !noted_.insert(failure.what).second) return;
  }
  LOG_WARNING("{}", image::printable(failure.what));
}

}  // namespace faultline::browse
