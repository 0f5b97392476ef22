#include "pageserver/page_source.h"

namespace faultline::pageserver {

Result<void> PageSource::copy(const Range& range, std::span<std::byte>) {
  return error(ENOENT, "the page at {:#x} of object {:#x} is in no file", range.address, range.object);
}

Result<void> PageSource::opened(uint64_t) { return {}; }
void PageSource::closed(uint64_t) {}
Result<void> PageSource::commit(uint64_t) { return {}; }
Result<void> PageSource::done(uint64_t) { return {}; }
void PageSource::revoked(uint64_t) {}

}  // namespace faultline::pageserver
