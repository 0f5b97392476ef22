// fuzz-sources: core/base/*.cc core/image/*.cc
// fuzz-seeds: named-images
//
// The golden checkpoint with one image replaced, loaded as a whole. Input: the name of the image, a newline, its bytes.
#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "core/image/checkpoint.h"

using namespace faultline;
using namespace faultline::image;
namespace fs = std::filesystem;

namespace {

void require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "fuzz: %s\n", what);
  std::abort();
}

// Two directories: the golden images, and one of links to them, in which one is a file of its own.
struct Directories {
  Directories() : golden(fs::absolute(std::getenv("FUZZ_GOLDEN"))) {
    char path[] = "/dev/shm/faultline-fuzz.XXXXXX";
    require(::mkdtemp(path), "no directory can be made in /dev/shm");
    scratch = path;
    for (const auto& entry : fs::directory_iterator(golden)) fs::create_symlink(entry.path(), scratch / entry.path().filename());
  }
  ~Directories() { fs::remove_all(scratch); }
  fs::path golden, scratch;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const Directories directories;
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t end = input.find('\n');
  if (end == input.npos || end > 64 || input.substr(0, end).find('/') != input.npos || input.substr(0, end).find('\0') != input.npos)
    return -1;
  const std::string name(input.substr(0, end));
  if (!fs::is_regular_file(directories.golden / name)) return -1;

  const auto dir = ImageDir::open(directories.scratch);
  require(dir && dir->remove(name), "the scratch directory cannot be used");
  auto fd = dir->open_file(name, O_WRONLY | O_CREAT);
  require(fd && write_all(fd->get(), input.data() + end + 1, size - end - 1, name.c_str()), "the image cannot be written");
  const auto loaded = Checkpoint::load(*dir);
  if (!loaded) {
    require(loaded.error().code != 0, "an error without a number");
    require(loaded.error().what.find(directories.scratch) != std::string::npos, "an error that does not name the checkpoint");
  }
  require(dir->remove(name).has_value(), "the image cannot be removed");
  fs::create_symlink(directories.golden / name, directories.scratch / name);
  return 0;
}
