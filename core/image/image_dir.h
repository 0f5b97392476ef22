#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/base/result.h"
#include "core/base/unique_fd.h"
#include "core/image/kinds.h"
#include "core/image/messages.h"

namespace faultline::image {

// The directory of one checkpoint. Holds the directory open, so that it may be renamed meanwhile.
class ImageDir {
 public:
  static Result<ImageDir> open(const std::string& path);
  // Takes the descriptor over. `name` is for messages.
  static ImageDir adopt(UniqueFd fd, std::string name) { return ImageDir(std::move(fd), std::move(name)); }
  // The directory `path` below `root`, to be read on behalf of somebody who must not see anything else: neither the path, nor a link
  // among its files leads out of the directory, nor its parents out of `root`. An empty path is `root` itself. `path` is the name for messages.
  // Errors: EXDEV for what leads out; those of openat2(2).
  static Result<ImageDir> open_beneath(std::shared_ptr<const UniqueFd> root, const std::string& path);

  int fd() const { return fd_.get(); }
  const std::string& name() const { return name_; }

  // The checkpoint that this one builds on, behind the symbolic link "parent". Errors: ENOENT if there is none.
  Result<ImageDir> open_parent() const;

  // openat(2) with O_CLOEXEC. Errors: those of openat(2).
  Result<UniqueFd> open_file(const std::string& file, int flags, int mode = 0644) const;
  bool exists(const std::string& file) const;
  // Removes `file`; no error if it is not there.
  Result<void> remove(const std::string& file) const;

  // Begins to write `file` to its disk, without waiting. Only makes sync() shorter.
  void begin_sync(const std::string& file) const;
  // Brings every regular file of the directory to stable storage, but not yet the directory itself. Only these: syncfs(2) would wait for
  // whatever else is dirty on the file system.
  Result<void> sync() const;

 private:
  ImageDir(UniqueFd fd, std::string name) : fd_(std::move(fd)), name_(std::move(name)) {}
  UniqueFd fd_;
  std::string name_;
  std::shared_ptr<const UniqueFd> root_;  // of a directory that is confined
  std::string path_;                      // below it, without links
};

// Writes one image: head, then entries, each followed by its payload if it has one.
// The file appears with the first entry; an image without entries is not left behind, not even one of an earlier dump.
class Writer {
 public:
  // `dir` must outlive the writer.
  static Result<Writer> create(const ImageDir& dir, std::string file, const Kind& kind);

  template <typename Message>
  Result<void> put(const Message& message) {
    std::string bytes;
    append(message, bytes);
    return put_bytes(bytes);
  }
  Result<void> payload(std::span<const std::byte> bytes);
  // For large payloads: what was written so far is flushed, and the caller appends at the end of this descriptor.
  Result<int> flush_and_fd();
  // Writes what is still buffered. A writer that is dropped without it leaves an incomplete file.
  Result<void> close();

 private:
  Writer(const ImageDir& dir, std::string file, const Kind& kind) : dir_(&dir), file_(std::move(file)), kind_(&kind) {}
  Result<void> put_bytes(std::string_view bytes);
  Result<void> flush();

  const ImageDir* dir_;
  std::string file_;
  const Kind* kind_;
  UniqueFd fd_;
  std::string buffer_;
};

// Writes an image of one entry.
template <typename Message>
Result<void> write_one(const ImageDir& dir, const std::string& file, const Kind& kind, const Message& message) {
  Writer writer = TRY(Writer::create(dir, file, kind));
  TRY(writer.put(message));
  return writer.close();
}

// Reads one image from its beginning to its end. Sizes are checked against the file before anything is allocated.
// Errors: EBADMSG with file, offset and reason for everything that is malformed.
class Reader {
 public:
  // An absent file reads as one without entries. `v1`: format version 1, whose images have no common head (inventory: img_version).
  static Result<Reader> open(const ImageDir& dir, std::string file, const Kind& kind, bool v1 = false);
  // The same for a descriptor, which stays the caller's; the kind is found from the magic.
  static Result<Reader> open_any(int fd, std::string name);

  const Kind& kind() const { return *kind_; }
  const std::string& name() const { return name_; }
  bool exists() const { return fd_ >= 0; }
  bool at_end() const { return offset_ >= size_; }
  uint64_t offset() const { return offset_; }
  uint64_t size() const { return size_; }

  template <typename Message>
  Result<std::optional<Message>> next() {
    const uint64_t at = offset_;
    auto bytes = TRY(next_bytes());
    if (!bytes) return std::optional<Message>();
    Message message;
    std::string why;
    if (!parse(*bytes, message, why)) return bad(at, why);
    return std::optional<Message>(std::move(message));
  }
  // The entry's bytes as they are; nullopt at the end of the file.
  Result<std::optional<std::string>> next_bytes();
  Result<std::string> payload(uint64_t size);
  Result<std::string> rest() { return payload(size_ - offset_); }
  // Where a payload of `size` bytes stands in the file, to be read by other means; steps over it.
  Result<uint64_t> skip(uint64_t size);
  int fd() const { return fd_; }

  // An error about this file.
  Failure bad(uint64_t at, std::string_view why) const;

 private:
  Reader() = default;
  Result<void> read_head(bool v1);
  Result<uint32_t> word();

  UniqueFd owned_;
  int fd_ = -1;
  std::string name_;
  const Kind* kind_ = nullptr;
  uint64_t offset_ = 0;
  uint64_t size_ = 0;
};

// All entries of an image without payloads, or none if it is absent.
template <typename Message>
Result<std::vector<Message>> read_all(const ImageDir& dir, const std::string& file, const Kind& kind, bool v1 = false) {
  Reader reader = TRY(Reader::open(dir, file, kind, v1));
  std::vector<Message> all;
  while (auto message = TRY(reader.next<Message>())) all.push_back(std::move(*message));
  return all;
}

// The first entry of an image that must exist.
template <typename Message>
Result<Message> read_one(const ImageDir& dir, const std::string& file, const Kind& kind, bool v1 = false) {
  Reader reader = TRY(Reader::open(dir, file, kind, v1));
  if (!reader.exists()) return error(ENOENT, "{}/{}: this image is missing", dir.name(), file);
  auto message = TRY(reader.next<Message>());
  if (!message) return reader.bad(reader.offset(), "an entry is expected here");
  return std::move(*message);
}

}  // namespace faultline::image
