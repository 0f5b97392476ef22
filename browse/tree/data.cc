#include "browse/tree/data.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "core/base/unique_fd.h"

namespace faultline::browse {

namespace {

// Longer texts go into a file.
constexpr size_t kLongText = 1 << 20;

class Text : public FileData {
 public:
  explicit Text(std::string text) : text_(std::move(text)) {}
  uint64_t size() const override { return text_.size(); }
  Result<size_t> read(uint64_t offset, std::span<std::byte> to) const override {
    if (offset >= text_.size()) return 0;
    const size_t n = std::min<uint64_t>(to.size(), text_.size() - offset);
    memcpy(to.data(), text_.data() + offset, n);
    return n;
  }

 private:
  const std::string text_;
};

class InFile : public FileData {
 public:
  InFile(UniqueFd fd, uint64_t size) : fd_(std::move(fd)), size_(size) {}
  uint64_t size() const override { return size_; }
  Result<size_t> read(uint64_t offset, std::span<std::byte> to) const override {
    if (offset >= size_) return 0;
    const size_t n = std::min<uint64_t>(to.size(), size_ - offset);
    TRY(pread_all(fd_.get(), to.data(), n, static_cast<off_t>(offset), "a file of the mount"));
    return n;
  }
  std::optional<Place> place(uint64_t offset, uint64_t limit) const override { return Place{fd_.get(), offset, limit - offset}; }

 private:
  const UniqueFd fd_;
  const uint64_t size_;
};

// A file without a name, where files of a short life belong; in memory where there is no such place.
Result<UniqueFd> nameless_file() {
  const char* directory = getenv("TMPDIR");
  UniqueFd fd(::open(directory && *directory ? directory : "/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  if (!fd) fd = UniqueFd(::memfd_create("faultline-text", MFD_CLOEXEC));
  if (!fd) return sys_error("cannot make a temporary file");
  return fd;
}

class Memory : public FileData {
 public:
  Memory(std::shared_ptr<const AddressSpace> memory, Vaddr start, Vaddr end) : memory_(std::move(memory)), start_(start), end_(end) {}

  uint64_t size() const override { return end_ - start_; }
  uint64_t stored() const override;
  Result<size_t> read(uint64_t offset, std::span<std::byte> to) const override;
  std::optional<Place> place(uint64_t offset, uint64_t limit) const override;
  uint64_t next(bool data, uint64_t offset) const override { return memory_->next(data, start_ + offset, end_) - start_; }

 private:
  const std::shared_ptr<const AddressSpace> memory_;
  const Vaddr start_, end_;
};

// Only what lies in areas: between them there may be 2^47 bytes, but no more runs than areas.
uint64_t Memory::stored() const {
  uint64_t bytes = 0;
  for (Vaddr at = start_; at < end_;) {
    const AddressSpace::Run run = memory_->run_at(at, end_);
    if (run.has_data()) bytes += run.end - run.start;
    at = run.end;
  }
  return bytes;
}

Result<size_t> Memory::read(uint64_t offset, std::span<std::byte> to) const {
  if (offset >= size()) return 0;
  to = to.first(std::min<uint64_t>(to.size(), size() - offset));
  return memory_->read(start_ + offset, to);
}

std::optional<FileData::Place> Memory::place(uint64_t offset, uint64_t limit) const { return place_of(memory_->run_at(start_ + offset, start_ + limit)); }

class Pages : public FileData {
 public:
  Pages(std::shared_ptr<const StoredPages> pages, uint64_t size) : pages_(std::move(pages)), size_(size) {}

  uint64_t size() const override { return size_; }
  uint64_t stored() const override {
    uint64_t bytes = 0;
    for (const auto& extent : pages_->index().overlapping(0, page_up(size_))) bytes += std::min(extent.end(), size_) - std::min(extent.vaddr, size_);
    return bytes;
  }
  Result<size_t> read(uint64_t offset, std::span<std::byte> to) const override;
  std::optional<Place> place(uint64_t offset, uint64_t limit) const override;
  uint64_t next(bool data, uint64_t offset) const override;

 private:
  const std::shared_ptr<const StoredPages> pages_;
  const uint64_t size_;
};

Result<size_t> Pages::read(uint64_t offset, std::span<std::byte> to) const {
  if (offset >= size_) return 0;
  to = to.first(std::min<uint64_t>(to.size(), size_ - offset));
  for (size_t done = 0; done < to.size();) {
    const uint64_t at = offset + done;
    const auto extents = pages_->index().overlapping(at, at + 1);
    const uint64_t end = std::min<uint64_t>(offset + to.size(), extents.empty() ? next(true, at) : extents[0].end());
    const auto here = to.subspan(done, end - at);
    if (extents.empty()) std::ranges::fill(here, std::byte{0});
    else if (auto read = pages_->read(extents[0], at, here); !read && done == 0) return Failure(read.error());
    else if (!read) return done;
    done += here.size();
  }
  return to.size();
}

std::optional<FileData::Place> Pages::place(uint64_t offset, uint64_t limit) const {
  const auto extents = pages_->index().overlapping(offset, offset + 1);
  if (extents.empty()) return Place{-1, 0, std::min(limit, next(true, offset)) - offset};
  const auto where = pages_->place(extents[0]);
  if (!where) return std::nullopt;
  return Place{where->fd, where->offset + (offset - extents[0].vaddr), std::min(limit, extents[0].end()) - offset};
}

uint64_t Pages::next(bool data, uint64_t offset) const {
  if (offset >= size_) return size_;
  for (const auto& extent : pages_->index().overlapping(offset, page_up(size_))) {
    if (data) return std::min(size_, std::max(extent.vaddr, offset));
    if (extent.vaddr > offset) break;
    offset = extent.end();
  }
  return data ? size_ : std::min(size_, offset);
}

class Raw : public FileData {
 public:
  Raw(Images& images, const Images::File& file) : images_(images), file_(file) {}
  uint64_t size() const override { return file_.size; }
  Result<size_t> read(uint64_t offset, std::span<std::byte> to) const override {
    if (offset >= file_.size) return 0;
    to = to.first(std::min<uint64_t>(to.size(), file_.size - offset));
    const size_t n = TRY(images_.read_raw(file_, offset, to));
    if (n < to.size()) return error(EIO, "{}/{}: is shorter now than when it was mounted", images_.name(), file_.name);
    return n;
  }

 private:
  Images& images_;
  const Images::File& file_;
};

class Object : public FileData {
 public:
  explicit Object(std::shared_ptr<const Content> content) : content_(std::move(content)) {}
  uint64_t size() const override { return content_->size(); }
  Result<size_t> read(uint64_t offset, std::span<std::byte> to) const override { return content_->read(offset, to); }

 private:
  const std::shared_ptr<const Content> content_;
};

class Core : public FileData {
 public:
  explicit Core(std::shared_ptr<const ElfCore> core) : core_(std::move(core)) {}
  uint64_t size() const override { return core_->size(); }
  uint64_t stored() const override {
    uint64_t bytes = 0;
    for (uint64_t at = core_->next(true, 0); at < size(); at = core_->next(true, at)) {
      const uint64_t end = core_->next(false, at);
      bytes += end - at;
      at = end;
    }
    return bytes;
  }
  Result<size_t> read(uint64_t offset, std::span<std::byte> to) const override { return core_->read(offset, to); }
  std::optional<Place> place(uint64_t offset, uint64_t limit) const override { return place_of(core_->run_at(offset, limit)); }
  uint64_t next(bool data, uint64_t offset) const override { return core_->next(data, offset); }

 private:
  const std::shared_ptr<const ElfCore> core_;
};

}  // namespace

FileDataPtr core_data(std::shared_ptr<const ElfCore> core) { return std::make_shared<const Core>(std::move(core)); }

FileDataPtr object_data(std::shared_ptr<const Content> content) { return std::make_shared<const Object>(std::move(content)); }

std::optional<FileData::Place> place_of(const AddressSpace::Run& run) {
  const uint64_t length = run.end - run.start;
  switch (run.kind) {
    case AddressSpace::Kind::kZero: return FileData::Place{-1, 0, length};
    case AddressSpace::Kind::kStored:
    case AddressSpace::Kind::kShared:
      if (const auto where = run.pages->place(run.extent)) return FileData::Place{where->fd, where->offset, length};
      return std::nullopt;
    case AddressSpace::Kind::kFile:
      // The rest of its last page is zeros, which only read() makes.
      if (run.offset + length > run.file->size()) return std::nullopt;
      return FileData::Place{run.file->fd(), run.offset, length};
    default: return std::nullopt;
  }
}

Result<FileDataPtr> text_data(std::string text) {
  if (text.size() <= kLongText) return std::make_shared<const Text>(std::move(text));
  UniqueFd fd = TRY(nameless_file());
  TRY(write_all(fd.get(), text.data(), text.size(), "a temporary file"));
  return std::make_shared<const InFile>(std::move(fd), text.size());
}

FileDataPtr memory_data(std::shared_ptr<const AddressSpace> memory, Vaddr start, Vaddr end) {
  return std::make_shared<const Memory>(std::move(memory), start, end);
}

FileDataPtr pages_data(std::shared_ptr<const StoredPages> pages, uint64_t size) { return std::make_shared<const Pages>(std::move(pages), size); }

FileDataPtr raw_data(Images& images, const Images::File& file) { return std::make_shared<const Raw>(images, file); }

}  // namespace faultline::browse
