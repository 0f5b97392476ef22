#pragma once

#include <string>

#include "core/image/image_dir.h"

namespace faultline::browse {

// An empty directory for files that nobody else is to see. Where the kernel lets us, it is a file system in memory without a place in the tree,
// which ends with the last descriptor, however the process ends; otherwise one below $TMPDIR or /tmp, removed by the destructor.
class PrivateDir {
 public:
  // `name` is for messages.
  static Result<PrivateDir> create(const std::string& name);
  ~PrivateDir();
  PrivateDir(PrivateDir&& other) noexcept : dir_(std::move(other.dir_)), path_(std::exchange(other.path_, {})) {}
  PrivateDir& operator=(PrivateDir&&) = delete;

  const image::ImageDir& dir() const { return dir_; }

 private:
  PrivateDir(image::ImageDir dir, std::string path) : dir_(std::move(dir)), path_(std::move(path)) {}
  image::ImageDir dir_;
  std::string path_;  // empty: nothing to remove
};

}  // namespace faultline::browse
