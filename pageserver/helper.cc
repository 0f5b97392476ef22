#include "pageserver/helper.h"

#include <system_error>
#include <utility>

namespace faultline::pageserver {

Result<std::unique_ptr<Helper>> Helper::start() {
  std::unique_ptr<Helper> helper(new Helper);
  try {
    helper->thread_ = std::thread([h = helper.get()] { h->run(); });
  } catch (const std::system_error& e) {
    return error(e.code().value(), "page server: cannot start a thread: {}", e.what());
  }
  return helper;
}

Helper::~Helper() {
  if (!thread_.joinable()) return;
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  posted_.notify_one();
  thread_.join();
}

void Helper::post(std::function<void()> job) {
  {
    std::lock_guard lock(mutex_);
    jobs_.push_back(std::move(job));
  }
  posted_.notify_one();
}

void Helper::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    posted_.wait(lock, [this] { return stopping_ || !jobs_.empty(); });
    if (stopping_) return;
    auto job = std::move(jobs_.front());
    jobs_.pop_front();
    lock.unlock();
    job();
    job = {};
    lock.lock();
  }
}

}  // namespace faultline::pageserver
