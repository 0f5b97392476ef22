// fuzz-sources: core/base/*.cc core/image/*.cc
// fuzz-seeds: named-images
//
// The golden checkpoint with one image replaced, loaded as a whole. Input: the name of the image, a newline, its bytes.
#include "core/image/checkpoint.h"
#include "tests/fuzz/changed_checkpoint.h"

using namespace faultline;
using fuzz::require;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static fuzz::ChangedCheckpoint checkpoint;
  if (!checkpoint.change({reinterpret_cast<const char*>(data), size})) return -1;
  const auto dir = image::ImageDir::open(checkpoint.path());
  require(dir.has_value(), "the scratch directory cannot be opened");
  const auto loaded = image::Checkpoint::load(*dir);
  if (!loaded) {
    require(loaded.error().code != 0, "an error without a number");
    require(loaded.error().what.find(checkpoint.path()) != std::string::npos, "an error that does not name the checkpoint");
  }
  checkpoint.heal();
  return 0;
}
