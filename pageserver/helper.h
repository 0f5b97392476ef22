#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

#include "core/base/result.h"

namespace faultline::pageserver {

// A thread for what takes long, beside those that serve: one thing after the other.
class Helper {
 public:
  // Errors: EAGAIN if there can be no thread.
  static Result<std::unique_ptr<Helper>> start();
  // Waits for the end of what is being done; what has not begun is dropped.
  ~Helper();
  Helper(const Helper&) = delete;

  // Any thread. What `job` uses must be there until it has run, or this is destroyed.
  void post(std::function<void()> job);

 private:
  Helper() = default;
  void run();

  std::mutex mutex_;  // guards what follows
  std::condition_variable posted_;
  std::deque<std::function<void()>> jobs_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace faultline::pageserver
