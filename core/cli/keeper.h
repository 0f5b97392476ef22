#pragma once

#include <sys/types.h>

#include <functional>

#include "core/base/result.h"
#include "core/base/unique_fd.h"

namespace faultline::cli {

// Stays with a detached restore from a live source as long as its memory comes, as the parent of the root and of whoever is orphaned: should the
// source take its processes back, all of them are found among its children (lazy/farewell.h). Then they go to whom they would have gone.
class Keeper {
 public:
  // The pager has to keep this descriptor open, and nobody else.
  int held_by_pager() const { return pager_end_.get(); }
  // The restore is done: whoever has started it goes on, and this process is a daemon. Returns when the pager has ended. Orphans that end are
  // reaped; the root is not, so that its exit status is told to the one who waits for it.
  Result<void> stay(pid_t root);

 private:
  friend Result<int> with_keeper(const std::function<Result<int>(Keeper&)>& work);

  UniqueFd front_, pager_, pager_end_;
};

// Runs `work` in a child. In the child the result is that of `work`, and the caller goes its usual way to the end of the process. In the parent it
// is the child's exit code, or 0 once stay() was called. If the parent is killed before that, so is the child.
// Call while there is one thread. Errors, in the parent: those of fork(2) and pipe(2), ECHILD if the child was killed.
Result<int> with_keeper(const std::function<Result<int>(Keeper&)>& work);

}  // namespace faultline::cli
