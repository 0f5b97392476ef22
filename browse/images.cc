#include "browse/images.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

namespace faultline::browse {

namespace {

class ImagesInDirectory : public Images {
 public:
  ImagesInDirectory(image::ImageDir dir, std::vector<File> files) : dir_(std::move(dir)), files_(std::move(files)) {}

  const std::string& name() const override { return dir_.name(); }
  const std::vector<File>& files() const override { return files_; }
  Result<const image::ImageDir*> with(const std::string&) override { return &dir_; }

  Result<std::shared_ptr<const StoredPages>> memory(const std::string& pagemap) override { return stored_pages_in(dir_, pagemap); }

 private:
  const image::ImageDir dir_;
  const std::vector<File> files_;
};

}  // namespace

const Images::File* Images::file(std::string_view name) const {
  const auto at = std::ranges::lower_bound(files(), name, {}, &File::name);
  return at != files().end() && at->name == name ? &*at : nullptr;
}

Result<size_t> Images::read_raw(const File& file, uint64_t offset, std::span<std::byte> to) {
  const UniqueFd fd = TRY(TRY(with(file.name))->open_file(file.name, O_RDONLY | O_NONBLOCK));
  size_t done = 0;
  while (done < to.size()) {
    const ssize_t n = ::pread(fd.get(), to.data() + done, to.size() - done, static_cast<off_t>(offset + done));
    if (n < 0) return sys_error("{}/{}", name(), file.name);
    if (n == 0) break;
    done += static_cast<size_t>(n);
  }
  return done;
}

Result<std::unique_ptr<Images>> images_in(const std::string& path) {
  image::ImageDir dir = TRY(image::ImageDir::open(path));
  const std::unique_ptr<DIR, int (*)(DIR*)> list(::fdopendir(TRY(dir.open_file(".", O_RDONLY | O_DIRECTORY)).release()), ::closedir);
  if (!list) return sys_error("{} cannot be read", path);
  std::vector<Images::File> files;
  while (const dirent* entry = ::readdir(list.get())) {
    struct stat st;
    if (::fstatat(dir.fd(), entry->d_name, &st, 0) == 0 && S_ISREG(st.st_mode))
      files.push_back({entry->d_name, static_cast<uint64_t>(st.st_size), st.st_mtim});
  }
  std::ranges::sort(files, {}, &Images::File::name);
  return std::make_unique<ImagesInDirectory>(std::move(dir), std::move(files));
}

}  // namespace faultline::browse
