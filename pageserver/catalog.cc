#include "pageserver/catalog.h"

#include <dirent.h>
#include <fcntl.h>

#include <algorithm>

namespace faultline::pageserver {

namespace {

constexpr size_t kRecent = 16;
constexpr size_t kMaxNames = 10000, kMaxDepth = 8;

// Looks through one directory; names of directories below it are added to `to_visit`.
Result<void> list_one(const std::shared_ptr<const UniqueFd>& root, const std::string& name, std::string& names, size_t& count,
                      std::deque<std::string>& to_visit) {
  const image::ImageDir dir = TRY(image::ImageDir::open_beneath(root, name));
  if (dir.exists(image::kInventoryFile)) names += name + "\n", ++count;
  if (!name.empty() && static_cast<size_t>(std::ranges::count(name, '/')) + 1 >= kMaxDepth) return {};
  const std::unique_ptr<DIR, int (*)(DIR*)> list(::fdopendir(TRY(dir.open_file(".", O_RDONLY | O_DIRECTORY)).release()), ::closedir);
  if (!list) return sys_error("{} cannot be read", name);
  while (const dirent* entry = ::readdir(list.get())) {
    const std::string below = (name.empty() ? "" : name + "/") + entry->d_name;
    // A name with a line break could not be told from two.
    if (entry->d_type == DT_DIR && valid_name(below) && below.find('\n') == below.npos && to_visit.size() < kMaxNames) to_visit.push_back(below);
  }
  return {};
}

}  // namespace

Result<std::shared_ptr<PageSource>> Catalog::find(const std::string& name) {
  if (!valid_name(name)) return error(EINVAL, "the name of a checkpoint must be relative and stay below the served directory");
  std::lock_guard lock(mutex_);
  auto dir = image::ImageDir::open_beneath(root_, name);
  if (!dir) return error(dir.error().code, "there is no checkpoint \"{}\" here: {}", name, errno_text(dir.error().code));
  if (const auto at = loaded_.find(name); at != loaded_.end()) {
    auto source = at->second.lock();
    if (source && source->is_from(*dir)) return source;
    loaded_.erase(at);
  }
  auto source = StoredSource::load(std::move(*dir));
  if (!source) return error(source.error().code, "there is no complete checkpoint \"{}\" here: {}", name, source.error().what);
  std::erase_if(loaded_, [](const auto& entry) { return entry.second.expired(); });
  loaded_[name] = *source;
  recent_.push_back(*source);
  if (recent_.size() > kRecent) recent_.pop_front();
  return *source;
}

Result<std::string> Catalog::names() {
  std::string names;
  std::deque<std::string> to_visit = {""};
  for (size_t count = 0; !to_visit.empty() && count < kMaxNames && names.size() < kMaxPayload / 2; to_visit.pop_front())
    (void)list_one(root_, to_visit.front(), names, count, to_visit).has_value();  // one that is gone meanwhile, or may not be read
  return names;
}

}  // namespace faultline::pageserver
