// fuzz-sources: core/base/*.cc core/image/*.cc core/sys/build_id.cc arch/x86_64/core_notes.cc browse/address_space.cc browse/cache.cc browse/diff.cc browse/elf_core.cc browse/elf_notes.cc browse/images.cc browse/mapped_file.cc browse/paths.cc browse/snapshot.cc browse/stored_pages.cc browse/summary.cc browse/summary_text.cc browse/text/*.cc
// fuzz-seeds: named-images
//
// The golden checkpoint with one image replaced, looked at as a whole. Input: the name of the image, a newline, its bytes.
#include "browse/test_walk.h"
#include "core/base/log.h"
#include "tests/fuzz/changed_checkpoint.h"

using namespace faultline;
using fuzz::require;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static fuzz::ChangedCheckpoint checkpoint;
  static const bool quiet = log::open("", 0).has_value();
  require(quiet, "the log cannot be opened");
  if (!checkpoint.change({reinterpret_cast<const char*>(data), size})) return -1;
  auto images = browse::images_in(checkpoint.path());
  require(images.has_value(), "the scratch directory cannot be opened");
  if (auto snapshot = browse::Snapshot::open(std::move(*images))) require(browse::walk(**snapshot).answers > 0, "nothing can be seen");
  checkpoint.heal();
  return 0;
}
