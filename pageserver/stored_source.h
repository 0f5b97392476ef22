#pragma once

#include <map>
#include <mutex>
#include <optional>

#include "core/image/page_index.h"
#include "pageserver/listing.h"
#include "pageserver/page_source.h"

namespace faultline::pageserver {

// A checkpoint in a directory, or the memory of one, which a page server has received there: the other images are where the dump was then. What
// is read of it is kept: pagemaps with their parents resolved, and the descriptors of pages files.
class StoredSource : public PageSource {
 public:
  // Errors: ENOENT if nothing says that what is there is complete (neither inventory.img nor memory-received).
  static Result<std::shared_ptr<StoredSource>> load(image::ImageDir dir);

  // Whether this directory has the checkpoint that was loaded.
  bool is_from(const image::ImageDir& dir) const;

  Result<Place> locate(const Range& range) override;
  Result<std::shared_ptr<const std::string>> list_files() override;
  bool listed() const override;
  Result<ServedFile> open_file(const std::string& name) override;

 protected:
  // What says that it is complete, as it was when the checkpoint was loaded: inventory.img, else memory-received.
  struct Version {
    uint64_t device, inode, size;
    int64_t seconds, nanoseconds;
    bool operator==(const Version&) const = default;
  };
  static Result<Version> version_of(const image::ImageDir& dir);
  StoredSource(image::ImageDir dir, Version version) : dir_(std::move(dir)), version_(version) {}

  const image::ImageDir& dir() const { return dir_; }
  // The index of an object, loaded at first use. Valid as long as the source. Errors: ENOENT, EBADMSG.
  Result<const image::PageIndex*> index_of(ObjectId object);

 private:
  // The pagemap and pages images as a restore with late memory wants them (PROTOCOL.md, end of section 3), by name.
  using LeanFiles = std::map<std::string, ServedFile>;

  struct Object {
    image::PageIndex index;
    std::vector<UniqueFd> files;  // by the numbers that the index has
  };

  Result<const Object*> object(ObjectId id);
  Result<void> add_lean(LeanFiles& files, const std::string& pagemap, ObjectId object, uint32_t& spare_id);
  Result<LeanFiles> make_lean();
  Result<std::string> make_list(const LeanFiles& lean);

  const image::ImageDir dir_;
  const Version version_;
  std::mutex listing_;  // held while a list is made, which takes long; taken before the other
  // Guards what follows, never for long; what it points to does not change.
  mutable std::mutex mutex_;
  std::map<ObjectId, std::unique_ptr<const Object>> objects_;
  std::optional<LeanFiles> lean_;
  std::shared_ptr<const std::string> list_;
  std::optional<Error> unlisted_;  // why there is no list
};

}  // namespace faultline::pageserver
