#pragma once

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "core/image/image_dir.h"

namespace faultline::image {

// A directory for one test case, removed at its end.
class ScratchDir {
 public:
  ScratchDir() {
    char path[] = "/tmp/faultline-image-test.XXXXXX";
    REQUIRE(::mkdtemp(path));
    path_ = path;
  }
  ~ScratchDir() { std::filesystem::remove_all(path_); }
  ScratchDir(const ScratchDir&) = delete;

  const std::filesystem::path& path() const { return path_; }
  ImageDir dir() const {
    auto dir = ImageDir::open(path_);
    REQUIRE(dir);
    return std::move(*dir);
  }
  void write(const std::string& file, const std::string& bytes) const {
    // A new file: some file systems bring one that is cut to nothing and written again to the disk at once.
    std::filesystem::remove(path_ / file);
    std::ofstream out(path_ / file, std::ios::binary);
    out << bytes;
    REQUIRE(out.good());
  }

 private:
  std::filesystem::path path_;
};

inline std::string contents(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  REQUIRE(in.good());
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

// The number as it stands in an image.
inline std::string word(uint32_t value) { return std::string(reinterpret_cast<const char*>(&value), sizeof value); }

inline bool has(const std::string& text, const std::string& part) { return text.find(part) != text.npos; }

}  // namespace faultline::image
