#include "pageserver/stored_source.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <set>

namespace faultline::pageserver {

namespace {

// Whether a restore needs this file. What else lies in the directory (logs, statistics, sockets) is nobody's business.
bool is_served(std::string_view name) {
  return name.ends_with(".img") || name == image::kInterruptedCallsFile || name == image::kOriginFile || (name.starts_with("working-set-") && name.ends_with(".flws"));
}

bool is_pages(std::string_view name) { return name.starts_with("pages-") && name.ends_with(".img"); }

Result<std::set<std::string>> names_in(const image::ImageDir& dir) {
  const std::unique_ptr<DIR, int (*)(DIR*)> list(::fdopendir(TRY(dir.open_file(".", O_RDONLY | O_DIRECTORY)).release()), ::closedir);
  if (!list) return sys_error("{} cannot be read", dir.name());
  std::set<std::string> names;
  while (const dirent* entry = ::readdir(list.get()))
    if (is_served(entry->d_name)) names.insert(entry->d_name);
  return names;
}

Result<ServedFile> open_as_it_is(const image::ImageDir& dir, const std::string& name) {
  UniqueFd fd = TRY(dir.open_file(name, O_RDONLY | O_NONBLOCK));
  struct stat st;
  if (::fstat(fd.get(), &st) != 0) return sys_error("{}/{}", dir.name(), name);
  if (!S_ISREG(st.st_mode)) return error(EBADMSG, "{}/{}: not a regular file", dir.name(), name);
  return ServedFile{.fd = std::make_shared<UniqueFd>(std::move(fd)), .text = {}, .pages = {}, .size = static_cast<uint64_t>(st.st_size)};
}

void put_word(std::string& to, uint32_t word) { to.append(reinterpret_cast<const char*>(&word), sizeof word); }

template <typename Message>
void put_entry(std::string& to, const Message& message) {
  std::string bytes;
  image::append(message, bytes);
  put_word(to, static_cast<uint32_t>(bytes.size()));
  to += bytes;
}

ServedFile lean_pagemap(const image::PageIndex& index, uint32_t pages_id) {
  auto text = std::make_shared<std::string>();
  put_word(*text, image::kCommonMagic);
  put_word(*text, image::kPagemap.magic);
  put_entry(*text, image::PagemapHead{.pages_id = pages_id});
  for (const image::Extent& extent : index.extents()) {
    image::PagemapEntry entry;
    entry.vaddr = extent.vaddr;
    entry.nr_pages = extent.pages;
    entry.flags = extent.late ? image::kPageLazy : image::kPagePresent;
    put_entry(*text, entry);
  }
  const uint64_t size = text->size();
  return {.fd = {}, .text = std::move(text), .pages = {}, .size = size};
}

}  // namespace

Result<StoredSource::Version> StoredSource::version_of(const image::ImageDir& dir) {
  for (const char* name : {image::kInventoryFile, image::kMemoryReceivedFile}) {
    const auto fd = dir.open_file(name, O_RDONLY | O_NONBLOCK);
    if (!fd && fd.error().code == ENOENT) continue;
    if (!fd) return Failure(fd.error());
    struct stat st;
    if (::fstat(fd->get(), &st) != 0) return sys_error("{}/{}", dir.name(), name);
    return Version{st.st_dev, st.st_ino, static_cast<uint64_t>(st.st_size), st.st_mtim.tv_sec, st.st_mtim.tv_nsec};
  }
  return error(ENOENT, "neither {}, as a dump writes it at its end, nor {}, as a page server does that has received all memory; "
               "to memory that CRIU's page server has received, copy the other images of its dump", image::kInventoryFile, image::kMemoryReceivedFile);
}

Result<std::shared_ptr<StoredSource>> StoredSource::load(image::ImageDir dir) {
  const Version version = TRY(version_of(dir));
  return std::shared_ptr<StoredSource>(new StoredSource(std::move(dir), version));
}

bool StoredSource::is_from(const image::ImageDir& dir) const {
  const auto now = version_of(dir);
  return now && *now == version_;
}

Result<Place> StoredSource::locate(const Range& range) {
  const Object& object = *TRY(this->object(range.object));
  const auto extent = object.index.find(range.address);
  if (!extent) return error(ENOENT, "{} has no page at {:#x}", pagemap_name(range.object), range.address);
  if (extent->remote()) return error(ENOENT, "{}: the page at {:#x} is not in the images; it was left with the host of the dump", pagemap_name(range.object), range.address);
  return Place{.pages = std::min(range.pages, extent->pages), .fd = object.files[extent->file].get(), .offset = extent->offset};
}

Result<const image::PageIndex*> StoredSource::index_of(ObjectId object) { return &TRY(this->object(object))->index; }

// Loaded without the lock, so that nobody waits for another one's object. Of two who load the same, one has done it in vain.
Result<const StoredSource::Object*> StoredSource::object(ObjectId id) {
  {
    std::lock_guard lock(mutex_);
    if (const auto at = objects_.find(id); at != objects_.end()) return at->second.get();
  }
  std::vector<UniqueFd> files;
  const auto take = [&](UniqueFd file, const std::string&) -> Result<uint32_t> {
    files.push_back(std::move(file));
    return static_cast<uint32_t>(files.size() - 1);
  };
  image::PageIndex index = TRY(image::load_page_index(dir_, pagemap_name(id), take));
  auto loaded = std::make_unique<const Object>(std::move(index), std::move(files));
  std::lock_guard lock(mutex_);
  return objects_.try_emplace(id, std::move(loaded)).first->second.get();
}

Result<void> StoredSource::add_lean(LeanFiles& files, const std::string& pagemap, ObjectId object, uint32_t& spare_id) {
  const image::PageIndex& index = *TRY(index_of(object));
  auto pages = std::make_shared<std::vector<Range>>();
  uint64_t size = 0;
  for (const image::Extent& extent : index.extents()) {
    if (extent.late) continue;
    pages->push_back({object, extent.vaddr, extent.pages});
    size += extent.pages * kPageSize;
  }
  // Nothing of its own may be stored for an object whose parent has it all; and two pagemaps with one pages file become two.
  uint32_t id = TRY(image::load_pagemap(dir_, pagemap, false)).pages_id;
  while (size != 0 && (id == 0 || files.contains(fmt::format("pages-{}.img", id)))) id = spare_id++;
  files[pagemap] = lean_pagemap(index, id);
  if (size != 0) files[fmt::format("pages-{}.img", id)] = {.fd = {}, .text = {}, .pages = std::move(pages), .size = size};
  return {};
}

Result<StoredSource::LeanFiles> StoredSource::make_lean() {
  LeanFiles files;
  uint32_t spare_id = 0x7f000001;
  for (const std::string& name : TRY(names_in(dir_)))
    if (const auto object = object_of_pagemap(name)) TRY(add_lean(files, name, *object, spare_id));
  return files;
}

Result<std::string> StoredSource::make_list(const LeanFiles& lean) {
  std::string list;
  for (const auto& [name, file] : lean) list += fmt::format("{} {}\n", file.size, name);
  for (const std::string& name : TRY(names_in(dir_))) {
    if (object_of_pagemap(name) || is_pages(name) || name == image::kInventoryFile) continue;
    list += fmt::format("{} {}\n", TRY(open_as_it_is(dir_, name)).size, name);
  }
  // Last, as a dump writes it: a copy that was interrupted is not taken for a checkpoint.
  if (dir_.exists(image::kInventoryFile)) list += fmt::format("{} {}\n", TRY(open_as_it_is(dir_, image::kInventoryFile)).size, image::kInventoryFile);
  return list;
}

Result<std::shared_ptr<const std::string>> StoredSource::list_files() {
  std::lock_guard one(listing_);
  {
    std::lock_guard lock(mutex_);
    if (list_) return list_;
  }
  auto lean = make_lean();
  auto list = lean ? make_list(*lean) : Result<std::string>(Failure(lean.error()));
  std::lock_guard lock(mutex_);
  if (!list) {
    unlisted_ = list.error();
    return Failure(list.error());
  }
  lean_ = std::move(*lean);
  list_ = std::make_shared<const std::string>(std::move(*list));
  return list_;
}

bool StoredSource::listed() const {
  std::lock_guard lock(mutex_);
  return lean_ || (unlisted_ && !is_passing(unlisted_->code));
}

Result<ServedFile> StoredSource::open_file(const std::string& name) {
  if (name.find('/') != name.npos || !is_served(name)) return error(ENOENT, "{}: no image has this name", name);
  if (object_of_pagemap(name) || is_pages(name)) {
    std::lock_guard lock(mutex_);
    if (!lean_) return Failure(unlisted_.value_or(Error{EINVAL, name + ": the images have not been listed yet"}));
    const auto at = lean_->find(name);
    if (at == lean_->end()) return error(ENOENT, "{}: the checkpoint has no such image", name);
    return at->second;
  }
  return open_as_it_is(dir_, name);
}

}  // namespace faultline::pageserver
