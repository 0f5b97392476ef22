#pragma once

#include <memory>

#include "core/restore/address_space.h"
#include "core/restore/restore.h"
#include "core/restore/tree_plan.h"

namespace faultline::restore {

// Where the threads of all processes report that they are done.
inline constexpr unsigned kReady = 0;

// Everything that is known before the first process exists. Not movable: parts refer to each other.
class Plan {
 public:
  // Reads and checks the images. Errors: whatever makes this checkpoint impossible to restore here.
  static Result<std::unique_ptr<Plan>> make(const image::ImageDir& dir, const Settings& settings);

  const image::Checkpoint& checkpoint() const { return checkpoint_; }
  const TreePlan& tree() const { return tree_; }
  objects::FileRebuilder& files() { return *files_; }
  // All ranges that any of the processes uses.
  std::vector<Range> used_ranges() const;
  // The lowest number above every descriptor of the tree.
  int first_fd() const;
  uint32_t thread_count() const;
  // The pids of zombies and helpers that end up as children of `task`.
  std::vector<pid_t> children(const image::Task& task, Role role) const;

 private:
  explicit Plan(const image::ImageDir& dir) : dir_(dir) {}
  const image::ImageDir& dir_;
  image::Checkpoint checkpoint_;
  TreePlan tree_;
  std::optional<objects::FileRebuilder> files_;
};

// The programs of one process, in the region (or, for --dry-run, only described).
struct TaskPrograms {
  agent::Program leader;
  std::vector<agent::Program> threads;
  std::vector<std::optional<agent::Program::Step>> calls;  // the interrupted call, by index of the thread (0: the leader)
  std::vector<LazyRange> ranges;
};

struct ProgramContext {
  SpaceContext space;
  Vaddr barrier = 0;
  int first_fd = 0;
  int pages_fd = -1;   // the task's pages image
  int fault_socket = -1;
  uint32_t token = 0;  // which process this is, for the receiver of the userfaultfd
  // Puts a thread's program and its stack into the region: returns (program, stack).
  std::function<Result<std::pair<Vaddr, Vaddr>>(const agent::Program&)> place_thread;
};
inline constexpr size_t kThreadStack = 2048;

Result<TaskPrograms> make_programs(const Plan& plan, const objects::FileRebuilder& files, const image::Task& task, const ProgramContext& context);

}  // namespace faultline::restore
