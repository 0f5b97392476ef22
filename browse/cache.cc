#include "browse/cache.h"

namespace faultline::browse {

std::shared_ptr<const void> Cache::find(const std::string& key) {
  std::lock_guard lock(mutex_);
  const auto at = index_.find(key);
  if (at == index_.end()) return nullptr;
  entries_.splice(entries_.begin(), entries_, at->second);
  return at->second->value;
}

void Cache::put(const std::string& key, size_t weight, std::shared_ptr<const void> value) {
  std::list<Entry> dropped;  // destroyed without the lock
  std::lock_guard lock(mutex_);
  if (index_.contains(key)) return;
  entries_.push_front({key, weight, std::move(value)});
  index_[key] = entries_.begin();
  weight_ += weight;
  // The last one read stays, whatever its size.
  while (weight_ > limit_ && entries_.size() > 1) {
    weight_ -= entries_.back().weight;
    index_.erase(entries_.back().key);
    dropped.splice(dropped.begin(), entries_, std::prev(entries_.end()));
  }
}

}  // namespace faultline::browse
