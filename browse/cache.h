#pragma once

#include <any>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "core/base/result.h"

namespace faultline::browse {

// Keeps what was read last, of any type, by name. Safe from any thread; two threads that ask for the same thing may both make it.
class Cache {
 public:
  // `limit`: bytes, as the weights count them. What is used meanwhile lives on outside.
  explicit Cache(size_t limit) : limit_(limit) {}

  // The thing `key`, made by `make` if it is not there. `weight` is about how many bytes it takes.
  template <typename T>
  Result<std::shared_ptr<const T>> get(const std::string& key, size_t weight, const std::function<Result<std::shared_ptr<const T>>()>& make) {
    return get_weighed<T>(key, [&](const T&) { return weight; }, make);
  }
  // The same, where only what was made tells its weight.
  template <typename T, typename Weigh>
  Result<std::shared_ptr<const T>> get_weighed(const std::string& key, const Weigh& weigh, const std::function<Result<std::shared_ptr<const T>>()>& make) {
    if (auto known = find(key)) return std::static_pointer_cast<const T>(known);
    auto made = TRY(make());
    put(key, weigh(*made), made);
    return made;
  }

 private:
  struct Entry {
    std::string key;
    size_t weight;
    std::shared_ptr<const void> value;
  };
  std::shared_ptr<const void> find(const std::string& key);
  void put(const std::string& key, size_t weight, std::shared_ptr<const void> value);

  const size_t limit_;
  std::mutex mutex_;  // guards what follows
  size_t weight_ = 0;
  std::list<Entry> entries_;  // the last used first
  std::map<std::string, std::list<Entry>::iterator> index_;
};

}  // namespace faultline::browse
