#pragma once

#include <atomic>
#include <vector>

#include "core/base/unique_fd.h"
#include "core/restore/region.h"
#include "core/restore/tree_plan.h"

namespace faultline::restore {

// Makes the processes of a plan. Each makes its own children, takes its place in sessions and groups, and then leaves our code for
// its program in the region.
class Births {
 public:
  // `programs`: for each birth the address of its program in the region; 0 for zombies and helpers. All must outlive the births.
  Births(const TreePlan& plan, Region& region, std::vector<Vaddr> programs) : plan_(plan), region_(region), programs_(std::move(programs)) {}

  // Makes the first process, which makes the others; returns its pid. After prepare(). `sibling`: as a child of our own parent.
  // All signals must be blocked. Errors: EEXIST if its pid is taken.
  Result<pid_t> begin(bool sibling);
  // For a first process that is made by other means: it is the root itself, and lives as such.
  pid_t root_pid() const { return plan_.births.front().pid; }
  [[noreturn]] void become_root();
  // Tells the coordinator what went wrong, and waits to be killed.
  [[noreturn]] void fail(int code, const char* what) { give_up(code, what); }
  // Memory for what the processes tell each other; before begin() or become_root().
  Result<void> prepare();
  // Errors: ECHILD naming a process that has ended although it should live on. Not for births inside another pid namespace.
  Result<void> alive() const;
  // Ends all that were made so far.
  void kill_all() const;
  // Waits for them. Those that are traced must have been waited for by their tracer before.
  void reap_all() const;

 private:
  struct Shared {  // in the region
    std::atomic<uint32_t> arrived[2];
    std::atomic<uint32_t> opened;
    std::atomic<uint32_t> created[];  // by index of the birth
  };

  Result<pid_t> make(size_t index, uint64_t flags, uint64_t exit_signal);
  [[noreturn]] void live(size_t index);
  void make_children(size_t index, bool before_setsid);
  void meet(unsigned stage);
  [[noreturn]] void die_like(const image::Task& zombie);
  [[noreturn]] void give_up(int code, const char* what);

  const TreePlan& plan_;
  Region& region_;
  std::vector<Vaddr> programs_;
  Shared* shared_ = nullptr;
  pid_t self_ = 0;
};

// Reports a failure to the coordinator and wakes it.
void report(Region& region, pid_t pid, int code, const char* what);

}  // namespace faultline::restore
