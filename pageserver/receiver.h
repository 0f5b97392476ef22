#pragma once

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "core/image/image_dir.h"
#include "core/image/page_index.h"
#include "pageserver/protocol.h"
#include "pageserver/stream.h"

namespace faultline::pageserver {

// Takes in the memory that a dump sends by CRIU's protocol (formats/page-server-protocol.md, section 3), and makes the images of it:
// pagemap-<id>.img, pagemap-shmem-<id>.img and pages-<n>.img, n from 0x10001. No socket, so that it can be tested without one.
// When all is there, "memory-received" says so; it and an inventory of an earlier dump are removed when the first pages come.
// What was made is removed again unless CLOSE came and everything is on stable storage.
class Receiver {
 public:
  // `dir` must outlive it. Holes are looked for in its parent, behind the symbolic link "parent".
  explicit Receiver(const image::ImageDir& dir) : dir_(dir) {}
  ~Receiver();
  Receiver(const Receiver&) = delete;

  // Takes bytes of the stream. Errors: EBADMSG for what is malformed or does not fit the parent; those of writing. It is of no use then.
  Result<void> take(std::span<const std::byte> bytes);
  // What is to be sent back, and has not been taken yet.
  std::string take_answers() { return std::exchange(answers_, {}); }
  // CLOSE came, all is on stable storage: the answer may be sent.
  bool closed() const { return closed_; }
  uint64_t pages() const { return pages_; }

 private:
  // The object that is being written.
  struct Object {
    ObjectId id;
    std::string name;
    image::Writer pagemap;
    UniqueFd pages;
    std::string pages_name;
    std::optional<image::PageIndex> parent;
    uint64_t end = 0;  // of the last entry, bytes
  };

  Result<void> command(const CriuHeader& header);
  Result<ObjectId> object_of(const CriuHeader& header) const;
  Result<void> open(ObjectId object);
  Result<void> end_object();
  Result<void> add(const CriuHeader& header, uint32_t flags);
  Result<void> check_hole(uint64_t start, uint64_t end) const;
  Result<std::optional<image::PageIndex>> parent_of(const std::string& pagemap) const;
  Result<void> sync_directory() const;
  Result<void> close();

  const image::ImageDir& dir_;
  std::string head_;        // a header of which not all has come
  uint64_t data_left_ = 0;  // bytes of pages that belong to the last entry
  std::optional<Object> object_;
  std::set<ObjectId> seen_;
  std::vector<std::string> made_;  // files
  uint32_t next_pages_ = 0x10001;
  std::string answers_;
  uint64_t pages_ = 0;
  bool closed_ = false;
};

// Feeds `receiver` from the stream until CLOSE is answered and, if `until_end`, the other side has closed. Waits.
// Errors: those of the receiver and the stream; ENODATA if the stream ends without CLOSE; ECANCELED as soon as `cancel_fd` is readable.
Result<void> receive_pages(Stream& stream, Receiver& receiver, int cancel_fd, bool until_end);

}  // namespace faultline::pageserver
