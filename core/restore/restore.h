#pragma once

#include <functional>
#include <optional>

#include "core/image/image_dir.h"
#include "core/objects/files.h"
#include "lazy/daemon.h"
#include "lazy/pager.h"

namespace faultline::restore {

struct Settings {
  objects::FilePolicy files;
  bool lazy = false;                        // memory follows when it is touched, and in the background
  std::optional<lazy::Prefetch> prefetch;   // default: as recorded where there is a recording, else sequential
  bool record = true;                       // write down what is touched first, next to the images
  bool sibling = false;                     // the root becomes a child of our own parent
  bool new_pidns = false;                   // the tree gets a pid namespace of its own, with a /proc that shows it
  bool leave_stopped = false;
  bool stays = false;                       // the caller remains, and gets the orphans of the tree, at least until the root or the pager ends
  lazy::RemoteOptions* remote = nullptr;    // where pages are that are not in the images; connected when they are needed
  int work_dir = -1;                        // where a lazy-pages daemon may listen; -1: none is looked for
  lazy::Watch watch;                        // who watches the pager
  std::vector<int> keep_fds;                // descriptors that a pager must keep (of the log)
};

// What the caller may want to do on the way. Any of them may be empty.
struct Hooks {
  std::function<Result<void>(pid_t root)> post_restore;       // all is there, nothing runs yet; a failure ends the tree
  std::function<void()> resumed;                              // the tree runs
  std::function<void(uint64_t done, uint64_t all)> progress;  // pages of an eager restore
};

struct Restored {
  pid_t root;                  // as the caller sees it
  pid_t ends_with;             // a child of ours that ends when the root ends, with its exit status: the root, or the first process of its namespace
  std::optional<pid_t> pager;  // of a lazy restore whose memory has not all arrived: the guard, a child of ours
  image::RestoreStatsEntry stats;
};

// Makes the process tree of a checkpoint and lets it run. Everything that can be refused is refused before the first process exists;
// after any failure none is left. The caller must have one thread; its signals are blocked meanwhile, and it becomes the reaper of orphans.
// Errors: ENOENT, EBADMSG, ENOTSUP about the images, EEXIST for a pid that is taken, others say what failed in which process.
Result<Restored> run(const image::ImageDir& dir, const Settings& settings, const Hooks& hooks);

// The plan, for people: processes, files and the operations of each program. Needs no privileges; makes nothing.
Result<std::string> describe(const image::ImageDir& dir, const Settings& settings);

}  // namespace faultline::restore
