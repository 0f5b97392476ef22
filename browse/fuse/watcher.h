#pragma once

#include <sys/types.h>

#include <string>
#include <utility>

#include "core/base/unique_fd.h"

namespace faultline::browse {

// A small process that outlives the server by a moment. A server that was killed leaves its mount behind, and everybody who comes near it
// gets "Transport endpoint is not connected": the watcher takes it away. It does nothing to a mount that works, whoever's it is.
class Watcher {
 public:
  // Watches the calling process. May be called while there are other threads. Errors: those of fork(2).
  static Result<Watcher> start(const std::string& mountpoint);
  Watcher(Watcher&&) = default;
  Watcher& operator=(Watcher&& other) noexcept {
    std::swap(pid_, other.pid_);  // the old process ends with `other`
    std::swap(process_, other.process_);
    return *this;
  }
  // Ends the process: the server has unmounted in good order.
  ~Watcher();

  // Readable when it has ended, which it does not by itself: somebody has killed it.
  int ended() const { return process_.get(); }

 private:
  Watcher(pid_t pid, UniqueFd process) : pid_(pid), process_(std::move(process)) {}
  pid_t pid_;
  UniqueFd process_;
};

}  // namespace faultline::browse
