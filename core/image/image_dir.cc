#include "core/image/image_dir.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <climits>
#include <cstring>

namespace faultline::image {

namespace {

// No message of the format comes near it; protects against absurd sizes in files that are themselves huge.
constexpr uint64_t kEntryLimit = 64 << 20;
// Of a payload that is read in one piece; larger ones are for skip().
constexpr uint64_t kPayloadLimit = 1 << 30;
constexpr size_t kFlushAt = 256 << 10;

// openat2(2): opens what is below `dir`, whatever names and links say. A rename meanwhile makes it fail with EAGAIN.
UniqueFd open_below(int dir, const std::string& path, int flags, int mode) {
  open_how how = {};
  how.flags = static_cast<uint64_t>(flags | O_CLOEXEC);
  how.mode = flags & O_CREAT ? static_cast<uint64_t>(mode) : 0;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
  long fd;
  for (int attempt = 0; attempt < 16; ++attempt) {
    fd = ::syscall(SYS_openat2, dir, path.c_str(), &how, sizeof how);
    if (fd >= 0 || errno != EAGAIN) break;
  }
  return UniqueFd(static_cast<int>(fd));
}

Result<std::string> real_path(int fd, const std::string& name) {
  char buffer[PATH_MAX];
  const ssize_t n = ::readlink(fmt::format("/proc/self/fd/{}", fd).c_str(), buffer, sizeof buffer);
  if (n < 0) return sys_error("{}: cannot find out the path", name);
  return std::string(buffer, static_cast<size_t>(n));
}

void append_word(std::string& to, uint32_t word) { to.append(reinterpret_cast<const char*>(&word), sizeof word); }

}  // namespace

Result<ImageDir> ImageDir::open(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return sys_error("the images directory {} cannot be opened", path);
  return adopt(std::move(fd), path);
}

Result<ImageDir> ImageDir::open_beneath(std::shared_ptr<const UniqueFd> root, const std::string& path) {
  ImageDir dir(open_below(root->get(), path.empty() ? "." : path, O_RDONLY | O_DIRECTORY, 0), path.empty() ? "." : path);
  if (!dir.fd_) return sys_error("{}", dir.name_);
  // The path as it is without links: a chain of parents that went through the links of one path would be at most 40 long (ELOOP).
  const std::string top = TRY(real_path(root->get(), "the served directory")), here = TRY(real_path(dir.fd(), dir.name_));
  const std::string below = top == "/" ? top : top + "/";
  if (here != top && !here.starts_with(below)) return error(EXDEV, "{}: is no longer below the served directory", dir.name_);
  dir.path_ = here == top ? "" : here.substr(below.size());
  dir.root_ = std::move(root);
  return dir;
}

Result<ImageDir> ImageDir::open_parent() const {
  if (!root_) return adopt(TRY(open_file("parent", O_RDONLY | O_DIRECTORY)), name_ + "/parent");
  ImageDir parent = TRY(open_beneath(root_, path_.empty() ? "parent" : path_ + "/parent"));
  parent.name_ = name_ + "/parent";
  return parent;
}

Result<UniqueFd> ImageDir::open_file(const std::string& file, int flags, int mode) const {
  UniqueFd fd = root_ ? open_below(fd_.get(), file, flags, mode) : UniqueFd(::openat(fd_.get(), file.c_str(), flags | O_CLOEXEC, mode));
  if (!fd) return sys_error("{}/{}", name_, file);
  return fd;
}

bool ImageDir::exists(const std::string& file) const { return ::faccessat(fd_.get(), file.c_str(), F_OK, 0) == 0; }

Result<void> ImageDir::remove(const std::string& file) const {
  if (::unlinkat(fd_.get(), file.c_str(), 0) < 0 && errno != ENOENT) return sys_error("{}/{} cannot be removed", name_, file);
  return {};
}

void ImageDir::begin_sync(const std::string& file) const {
  const UniqueFd fd(::openat(fd_.get(), file.c_str(), O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC));
  if (fd) (void)::sync_file_range(fd.get(), 0, 0, SYNC_FILE_RANGE_WRITE);
}

Result<void> ImageDir::sync() const {
  const std::unique_ptr<DIR, int (*)(DIR*)> list(::fdopendir(TRY(open_file(".", O_RDONLY | O_DIRECTORY)).release()), ::closedir);
  if (!list) return sys_error("{} cannot be read", name_);
  std::vector<std::string> files;
  while (const dirent* entry = ::readdir(list.get()))
    if (entry->d_type == DT_REG || entry->d_type == DT_UNKNOWN) files.push_back(entry->d_name);
  // All of them are on their way before the first one is waited for.
  for (const std::string& file : files) begin_sync(file);
  for (const std::string& file : files) {
    const UniqueFd fd(::openat(fd_.get(), file.c_str(), O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC));
    if (!fd && (errno == ENOENT || errno == ELOOP)) continue;
    if (!fd || ::fsync(fd.get()) < 0) return sys_error("{}/{} cannot be brought to stable storage", name_, file);
  }
  return {};
}

Result<Writer> Writer::create(const ImageDir& dir, std::string file, const Kind& kind) {
  TRY(dir.remove(file));
  return Writer(dir, std::move(file), kind);
}

Result<void> Writer::put_bytes(std::string_view bytes) {
  if (!fd_) {
    fd_ = TRY(dir_->open_file(file_, O_WRONLY | O_CREAT | O_TRUNC));
    // The inventory has its own magic only, in both versions of the format.
    if (kind_->service) append_word(buffer_, kServiceMagic);
    else if (kind_->magic != kInventory.magic) append_word(buffer_, kCommonMagic);
    append_word(buffer_, kind_->magic);
  }
  append_word(buffer_, static_cast<uint32_t>(bytes.size()));
  buffer_ += bytes;
  return buffer_.size() >= kFlushAt ? flush() : Result<void>();
}

Result<void> Writer::payload(std::span<const std::byte> bytes) {
  buffer_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  return buffer_.size() >= kFlushAt ? flush() : Result<void>();
}

Result<void> Writer::flush() {
  if (!buffer_.empty()) TRY(write_all(fd_.get(), buffer_.data(), buffer_.size(), file_.c_str()));
  buffer_.clear();
  return {};
}

Result<int> Writer::flush_and_fd() {
  FL_CHECK(fd_);
  TRY(flush());
  return fd_.get();
}

Result<void> Writer::close() {
  TRY(flush());
  fd_.reset();
  return {};
}

Failure Reader::bad(uint64_t at, std::string_view why) const { return error(EBADMSG, "{}: at offset {}: {}", name_, at, why); }

Result<uint32_t> Reader::word() {
  if (size_ - offset_ < sizeof(uint32_t)) return bad(offset_, "the file ends inside a number");
  uint32_t value;
  TRY(pread_all(fd_, &value, sizeof value, static_cast<off_t>(offset_), name_.c_str()));
  offset_ += sizeof value;
  return value;
}

Result<Reader> Reader::open(const ImageDir& dir, std::string file, const Kind& kind, bool v1) {
  Reader reader;
  reader.name_ = dir.name() + "/" + file;
  reader.kind_ = &kind;
  // Not blocking, should it be a FIFO; it is refused in read_head.
  auto fd = dir.open_file(file, O_RDONLY | O_NONBLOCK);
  if (!fd && fd.error().code == ENOENT) return reader;
  reader.owned_ = TRY(std::move(fd));
  reader.fd_ = reader.owned_.get();
  TRY(reader.read_head(v1));
  return reader;
}

Result<void> Reader::read_head(bool v1) {
  struct stat st;
  if (::fstat(fd_, &st) < 0) return sys_error("{}", name_);
  if (!S_ISREG(st.st_mode)) return error(EBADMSG, "{}: not a regular file", name_);
  size_ = static_cast<uint64_t>(st.st_size);
  if (!v1 && kind_->magic != kInventory.magic) {
    const uint32_t head = TRY(word());
    if (head != (kind_->service ? kServiceMagic : kCommonMagic)) return bad(0, fmt::format("the magic number {:#x} is not that of an image", head));
  }
  const uint64_t at = offset_;
  const uint32_t magic = TRY(word());
  if (magic != kind_->magic) return bad(at, fmt::format("the magic number {:#x} is not that of {} ({:#x})", magic, kind_->magic_name, kind_->magic));
  return {};
}

Result<Reader> Reader::open_any(int fd, std::string name) {
  Reader reader;
  reader.name_ = std::move(name);
  reader.fd_ = fd;
  struct stat st;
  if (::fstat(fd, &st) < 0) return sys_error("{}", reader.name_);
  if (!S_ISREG(st.st_mode)) return error(EBADMSG, "{}: not a regular file", reader.name_);
  reader.size_ = static_cast<uint64_t>(st.st_size);
  uint32_t magic = TRY(reader.word());
  const bool service = magic == kServiceMagic;
  if (service || magic == kCommonMagic) magic = TRY(reader.word());
  reader.kind_ = kind_of(magic, service);
  if (!reader.kind_) return reader.bad(0, fmt::format("the magic number {:#x} is that of no image (raw images, like pages, have none)", magic));
  return reader;
}

Result<std::optional<std::string>> Reader::next_bytes() {
  if (fd_ < 0 || at_end()) return std::optional<std::string>();
  const uint64_t at = offset_;
  const uint32_t size = TRY(word());
  if (size > size_ - offset_) return bad(at, fmt::format("an entry of {} bytes is announced, but {} bytes are left", size, size_ - offset_));
  if (size > kEntryLimit) return bad(at, fmt::format("an entry of {} bytes is announced; no entry has more than {}", size, kEntryLimit));
  return std::optional<std::string>(TRY(payload(size)));
}

Result<std::string> Reader::payload(uint64_t size) {
  const uint64_t at = TRY(skip(size));
  if (size > kPayloadLimit) return bad(at, fmt::format("{} bytes of data are announced; at most {} are read at once", size, kPayloadLimit));
  std::string bytes(size, '\0');
  TRY(pread_all(fd_, bytes.data(), size, static_cast<off_t>(at), name_.c_str()));
  return bytes;
}

Result<uint64_t> Reader::skip(uint64_t size) {
  if (size > size_ - offset_) return bad(offset_, fmt::format("{} bytes of data are announced, but {} are left", size, size_ - offset_));
  return std::exchange(offset_, offset_ + size);
}

}  // namespace faultline::image
