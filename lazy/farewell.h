#pragma once

#include <sys/types.h>

#include <atomic>
#include <optional>
#include <vector>

#include "lazy/remote.h"

// How a pager takes its leave of a page server, above all of a live source (pageserver/PROTOCOL.md, section 5): never may two copies run, and
// never may the source give up its copy because ours is dead.
namespace faultline::lazy {

// A restored process. The descriptor (a pidfd) is open as long as a pager lives.
struct HeldProcess {
  pid_t pid;
  int pidfd;
};

// What became of our copy, in memory that outlives a pager.
struct Fate {
  std::atomic<bool> revoked;  // the source takes its processes back
  std::atomic<bool> gave_up;  // we have killed processes because of pages that did not come
  std::atomic<bool> never_let_go;  // the restore died before it let all of them run
};

// All restored processes, and where those are found that they fork, should they have to be ended.
struct HeldTree {
  std::vector<HeldProcess> processes;  // also those without late memory; empty: not known
  // `processes` is the first one of a pid namespace, which ends all others with it.
  bool contained = false;
  // The ancestor that gets the orphans of the tree (PR_SET_CHILD_SUBREAPER). Its other children are the pager and the guard only.
  std::optional<HeldProcess> reaper = {};
};

// Kills the processes and all that they have forked, and waits until they are gone.
// Errors: ENOTSUP if it is not known which they are; ESRCH if there can be descendants that nobody knows, because no reaper gets orphans, or it
// has ended: what is known is killed then all the same; ETIMEDOUT if they cannot be stopped, and then none is killed.
Result<void> end_processes(const HeldTree& tree);

// Says what is to be said: that all is done, that our processes are gone, or nothing. `open`: the connection of the pager, if there can be no
// other; nullptr if it is lost. Failures are logged.
void say_goodbye(const RemoteOptions& remote, const Fate& fate, const HeldTree& tree, pageserver::Client* open);

}  // namespace faultline::lazy
