#include "browse/stored_pages.h"

#include "core/base/unique_fd.h"

namespace faultline::browse {

namespace {

class PagesInFiles : public StoredPages {
 public:
  PagesInFiles(image::DamagedPageIndex index, std::vector<UniqueFd> files, std::vector<std::string> names, std::string own)
      : StoredPages(std::move(index.index), std::move(index.damage)), files_(std::move(files)), names_(std::move(names)), own_(std::move(own)) {}

  std::optional<Place> place(const image::Extent& extent) const override {
    if (extent.lost() || extent.remote()) return std::nullopt;
    return Place{files_[extent.file].get(), extent.offset};
  }

  Keeper keeper(const image::Extent& extent) const override {
    if (extent.lost()) return Keeper::kNobody;
    if (extent.remote()) return Keeper::kElsewhere;
    return names_[extent.file].starts_with(own_) ? Keeper::kCheckpoint : Keeper::kParent;
  }

  Result<void> read(const image::Extent& extent, Vaddr at, std::span<std::byte> to) const override {
    if (extent.lost()) return error(EIO, "the page at {:#x} is not in the images{}{}", page_down(at), damage().empty() ? "" : ": ", damage());
    if (extent.remote()) return error(EIO, "the page at {:#x} was left with the host of the dump, or with a page server", page_down(at));
    auto done = pread_all(files_[extent.file].get(), to.data(), to.size(), static_cast<off_t>(extent.offset + (at - extent.vaddr)), names_[extent.file].c_str());
    if (!done) return error(EIO, "the page at {:#x}: {}", page_down(at), done.error().what);
    return {};
  }

 private:
  const std::vector<UniqueFd> files_;
  const std::vector<std::string> names_;
  const std::string own_;  // how the names begin of those that are no parent's
};

}  // namespace

Result<std::shared_ptr<const StoredPages>> stored_pages_in(const image::ImageDir& dir, const std::string& pagemap) {
  std::vector<UniqueFd> files;
  std::vector<std::string> names;
  const auto take = [&](UniqueFd file, std::string name) -> Result<uint32_t> {
    files.push_back(std::move(file));
    names.push_back(std::move(name));
    return static_cast<uint32_t>(files.size() - 1);
  };
  auto index = TRY(image::load_damaged_page_index(dir, pagemap, take));
  return std::make_shared<const PagesInFiles>(std::move(index), std::move(files), std::move(names), dir.name() + "/pages-");
}

}  // namespace faultline::browse
