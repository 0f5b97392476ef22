#pragma once

#include <sys/types.h>

#include <atomic>
#include <span>

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
};

// Kills the processes and all that they have forked, and waits until they are gone. Not found are descendants whose parents have ended.
// Errors: ENOTSUP if it is not known which they are; ETIMEDOUT if they cannot be stopped.
Result<void> end_processes(std::span<const HeldProcess> processes);

// Says what is to be said: that all is done, that our processes are gone, or nothing. `open`: the connection of the pager, if there can be no
// other; nullptr if it is lost. Failures are logged.
void say_goodbye(const RemoteOptions& remote, const Fate& fate, std::span<const HeldProcess> processes, pageserver::Client* open);

}  // namespace faultline::lazy
