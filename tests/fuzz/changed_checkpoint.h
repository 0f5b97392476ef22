#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>

#include "core/image/image_dir.h"

// For fuzz targets whose input is an image: the golden checkpoint with that image in the place of its own.
namespace faultline::fuzz {

namespace fs = std::filesystem;

inline void require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "fuzz: %s\n", what);
  std::abort();
}

// Two directories: the golden images, and one of links to them, in which one is a file of its own.
class ChangedCheckpoint {
 public:
  ChangedCheckpoint() : golden_(fs::absolute(std::getenv("FUZZ_GOLDEN"))) {
    char path[] = "/dev/shm/faultline-fuzz.XXXXXX";
    require(::mkdtemp(path), "no directory can be made in /dev/shm");
    scratch_ = path;
    for (const auto& entry : fs::directory_iterator(golden_)) link(entry.path().filename());
  }
  ~ChangedCheckpoint() { fs::remove_all(scratch_); }
  ChangedCheckpoint(const ChangedCheckpoint&) = delete;

  const fs::path& path() const { return scratch_; }

  // `input`: the name of an image, a newline, its bytes. False if that is no input.
  bool change(std::string_view input) {
    const size_t end = input.find('\n');
    if (end == input.npos || end > 64 || input.substr(0, end).find('/') != input.npos || input.substr(0, end).find('\0') != input.npos) return false;
    changed_ = input.substr(0, end);
    if (!fs::is_regular_file(golden_ / changed_)) return false;
    const auto dir = image::ImageDir::open(scratch_);
    require(dir && dir->remove(changed_), "the scratch directory cannot be used");
    auto fd = dir->open_file(changed_, O_WRONLY | O_CREAT);
    require(fd && write_all(fd->get(), input.data() + end + 1, input.size() - end - 1, changed_.c_str()), "the image cannot be written");
    return true;
  }
  void heal() {
    fs::remove(scratch_ / changed_);
    link(changed_);
  }

 private:
  void link(const fs::path& name) { fs::create_symlink(golden_ / name, scratch_ / name); }

  fs::path golden_, scratch_;
  std::string changed_;
};

}  // namespace faultline::fuzz
