#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <utility>

namespace faultline::pageserver {

class Worker;

// The connections of a server on which no checkpoint has been opened yet, oldest first. They are the ones that give way when all places are
// taken: whoever needs memory says so at once. Any thread.
class Strangers {
 public:
  // Gives the number under which it is known.
  uint64_t add(Worker& worker) {
    std::lock_guard lock(mutex_);
    all_.emplace(++last_, &worker);
    return last_;
  }
  // No effect if it is not known any more.
  void remove(uint64_t number) {
    std::lock_guard lock(mutex_);
    all_.erase(number);
  }
  std::optional<std::pair<uint64_t, Worker*>> take_oldest() {
    std::lock_guard lock(mutex_);
    if (all_.empty()) return std::nullopt;
    const auto oldest = *all_.begin();
    all_.erase(all_.begin());
    return oldest;
  }

 private:
  std::mutex mutex_;
  std::map<uint64_t, Worker*> all_;
  uint64_t last_ = 0;
};

}  // namespace faultline::pageserver
