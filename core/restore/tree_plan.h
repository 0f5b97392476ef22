#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "core/image/checkpoint.h"

namespace faultline::restore {

// What a process of the plan is. Helpers stand in for session and group leaders that had ended; they end again before the tree runs.
enum class Role { kTask, kZombie, kHelper };

// One process to be made.
struct Birth {
  Role role = Role::kTask;
  pid_t pid = 0;
  const image::Task* task = nullptr;  // none for helpers
  int parent = -1;                    // whose child it is at last; -1: of the process that restores
  int creator = -1;                   // who makes it: its parent, or a sibling, which then uses CLONE_PARENT
  bool before_setsid = false;         // it is made while its creator still is in the session of its own creator
  bool new_session = false;           // calls setsid() once it has made the children that are due before
  pid_t pgid = 0;                     // group to join when all exist; 0: stays in the group it inherits
};

// Who is made by whom, with which ids, so that every process ends up with the parent, session and group of the image.
// Creators stand before those whom they make. Computed from the images alone.
struct TreePlan {
  std::vector<Birth> births;

  // `shell_job`: a session or group from outside the tree becomes the caller's.
  // Errors: ENOTSUP for a combination that no sequence of clone, setsid and setpgid makes; the message names the process.
  static Result<TreePlan> make(const image::Checkpoint& checkpoint, bool shell_job);

  // One line per process, for people.
  std::string describe() const;
};

}  // namespace faultline::restore
