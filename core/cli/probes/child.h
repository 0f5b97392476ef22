#pragma once

#include <sys/types.h>

#include <functional>

#include "core/base/result.h"

// Probes that change something (namespaces, mounts, filters) do it in a child that ends with them.
namespace faultline::cli {

// Runs `probe` in a forked child that is first moved into new namespaces (CLONE_NEW* flags, or 0), and returns what it returned.
// With CLONE_NEWNS no mount leaks out. Only for a process with one thread. The child is killed after ten seconds.
Result<void> in_child(int namespaces, const std::function<Result<void>()>& probe);

// A child that sleeps, to be examined. Killed and reaped by the destructor.
class Sleeper {
 public:
  // `prepare` runs in the child before it sleeps; make() returns when it is done. Errors: those of prepare, and of fork(2).
  static Result<Sleeper> make(const std::function<Result<void>()>& prepare = {});
  Sleeper(Sleeper&& other) noexcept : pid_(other.pid_) { other.pid_ = 0; }
  Sleeper& operator=(Sleeper&&) = delete;
  ~Sleeper();

  pid_t pid() const { return pid_; }
  // Seizes it through ptrace with these PTRACE_O_* options, and stops it.
  Result<void> seize(unsigned long ptrace_options = 0) const;

 private:
  explicit Sleeper(pid_t pid) : pid_(pid) {}
  pid_t pid_ = 0;
};

}  // namespace faultline::cli
