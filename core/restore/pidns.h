#pragma once

#include <map>

#include "core/restore/births.h"

namespace faultline::restore {

// A fresh pid namespace for a restored tree, so that its pids are free whatever runs outside. Its first process only adopts and reaps
// orphans, unless the root of the tree itself has pid 1; it ends with the root's exit status, and the namespace with it.
// The namespace comes with a mount namespace whose /proc shows it.
class PidNamespace {
 public:
  // Makes the namespace and, in it, the first process of `births`. Returns the pid of the process outside that ends with the tree.
  Result<pid_t> begin(Births& births);
  // Finds out how the processes inside are numbered outside. Returns the root's. All processes must exist.
  Result<pid_t> learn_pids(pid_t root);
  pid_t outer(pid_t inner) const;
  // Errors: ECHILD if the first process inside has ended, and with it all the others.
  Result<void> alive() const;
  // Ends all processes inside.
  void kill() const;
  // Waits for the end of the namespace. Those that are traced must have been waited for by their tracer before.
  void reap() const;
  // The process outside that ends with the tree.
  pid_t first() const { return first_; }

 private:
  [[noreturn]] void init(Births& births);
  Result<void> learn(pid_t outer_pid);

  pid_t first_ = 0;
  std::map<pid_t, pid_t> outer_;
};

}  // namespace faultline::restore
