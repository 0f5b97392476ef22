#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/base/mapping.h"
#include "core/base/result.h"
#include "core/image/checkpoint.h"

namespace faultline::image {

// The `file` of pages that are not in the images but with the host of the dump, or with a page server.
inline constexpr uint32_t kRemoteFile = UINT32_MAX;
// The `file` of pages that damaged images should have and do not.
inline constexpr uint32_t kLostFile = UINT32_MAX - 1;

// Consecutive pages whose contents stand consecutively in one pages file.
struct Extent {
  Vaddr vaddr;       // of the first page
  uint64_t pages;
  uint64_t offset;   // in the file, bytes; of remote pages: their address
  uint32_t file;     // number the caller gave the file, kRemoteFile, or kLostFile
  bool late = true;  // may come after the process has begun to run (PE_LAZY)

  Vaddr end() const { return vaddr + pages * kPageSize; }
  bool remote() const { return file == kRemoteFile; }
  bool lost() const { return file == kLostFile; }
};

// What to do about pages that should be there and are not: an error, or extents with the file kLostFile.
enum class Missing { kRefuse, kMark };

// One pagemap of a chain of incremental dumps.
struct PagemapLayer {
  const Pagemap* map;
  uint32_t file;
  uint64_t file_size;  // bytes
  std::string name;    // for messages
  Vaddr known_until = kUserSpaceEnd;  // the pagemap could not be read from here on: lost
};

// Where the contents of every page of one address space, or of one shared object, are to be found.
// Immutable once built; safe to read from any thread. Addresses are bytes in the dumped process (in the object, if shared).
class PageIndex {
 public:
  // Builds the index from the newest pagemap and its parents (oldest last).
  // Errors: EBADMSG if entries overlap, run backwards, point past the end of their pages file or to pages that no parent has.
  // Missing::kMark: only if entries overlap or run backwards.
  static Result<PageIndex> build(std::span<const PagemapLayer> newest_first, Missing missing = Missing::kRefuse);
  // From extents that are sorted and do not overlap.
  static PageIndex adopt(std::vector<Extent> extents);

  // The run that holds `vaddr`, cut so that it starts there; nullopt where the page was never stored (it reads as zero).
  std::optional<Extent> find(Vaddr vaddr) const;
  // The extents that touch [start, end), whole.
  std::span<const Extent> overlapping(Vaddr start, Vaddr end) const;
  std::span<const Extent> extents() const { return extents_; }
  uint64_t pages() const { return pages_; }
  bool any_remote() const;

 private:
  std::vector<Extent> extents_;
  uint64_t pages_ = 0;
};

// Takes a pages file of a chain over and gives the number by which extents name it; the same number if it is known already.
using TakePagesFile = std::function<Result<uint32_t>(UniqueFd file, std::string name)>;

// Reads the pagemap `file` in `dir` with its parents (symbolic link "parent"), and opens their pages files.
// Errors: ENOENT, EBADMSG for malformed images, ELOOP, those of `take`.
Result<PageIndex> load_page_index(const ImageDir& dir, const std::string& file, const TakePagesFile& take);

// The same of images that may be damaged: as far as a pagemap can be read it counts, and what it might have told of higher addresses is lost,
// as are pages that their file, or a parent, does not have.
struct DamagedPageIndex {
  PageIndex index;
  std::string damage;  // the first thing that was found wrong; empty: nothing
};
// Errors: ENOENT if there is no such pagemap, those of `take`.
Result<DamagedPageIndex> load_damaged_page_index(const ImageDir& dir, const std::string& file, const TakePagesFile& take);

}  // namespace faultline::image
