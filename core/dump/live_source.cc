#include "core/dump/live_source.h"

#include <fcntl.h>

#include <algorithm>

namespace faultline::dump {

using pageserver::ObjectId;
using pageserver::Place;
using pageserver::Range;

Result<std::shared_ptr<LiveSource>> LiveSource::load(const image::ImageDir& dir, const std::vector<FrozenTask>& tasks, Handover& handover) {
  auto own = image::ImageDir::adopt(TRY(dir.open_file(".", O_RDONLY | O_DIRECTORY)), dir.name());
  const Version version = TRY(version_of(own));
  std::shared_ptr<LiveSource> source(new LiveSource(std::move(own), version, handover));
  for (const FrozenTask& task : tasks) {
    if (task.zombie()) continue;
    const ObjectId object = pageserver::object_id(static_cast<uint64_t>(task.pid), pageserver::kTaskMemory);
    source->memory_.emplace(object, TRY(MemoryReader::of_task(task.pid)));
  }
  return source;
}

Result<Place> LiveSource::locate(const Range& range) {
  const auto extent = TRY(index_of(range.object))->find(range.address);
  if (!extent || !extent->remote()) return StoredSource::locate(range);
  return Place{.pages = std::min(range.pages, extent->pages)};
}

Result<void> LiveSource::copy(const Range& range, std::span<std::byte> to) {
  const auto memory = memory_.find(range.object);
  if (memory == memory_.end()) return error(ENOENT, "there is no process with the object {:#x}", range.object);
  TRY(memory->second.read(range.address, to));
  return {};
}

Result<std::shared_ptr<pageserver::PageSource>> OneSource::find(const std::string& name) {
  if (!name.empty()) return error(ENOENT, "here is one checkpoint only, which has no name");
  return source_;
}

}  // namespace faultline::dump
