#pragma once

#include <map>

#include "core/base/unique_fd.h"
#include "core/image/checkpoint.h"
#include "core/restore/address_space.h"
#include "lazy/remote.h"

namespace faultline::restore {

// Whether memory is not in the images but with the host of the dump, or with a page server. `shared_only`: private memory does not count.
bool any_remote(const image::Checkpoint& checkpoint, bool shared_only);

// Private pages that are in place when the processes begin to run.
uint64_t early_pages(const image::Checkpoint& checkpoint, bool lazy);

// What the kernel itself touches for the threads before they run, and before anybody serves their faults (rseq(2), for example): fetched
// from the page server into a file, from which the processes read it while they are built.
class FetchedEarly {
 public:
  // Fetches all of it. The file's descriptor is not below `lowest_fd`. Errors: those of the connection.
  static Result<FetchedEarly> fetch(const lazy::RemoteOptions& remote, const image::Checkpoint& checkpoint, int lowest_fd);

  // Of a living process.
  const EarlyPages& of(pid_t pid) const { return pages_.at(pid); }

 private:
  UniqueFd file_;
  std::map<pid_t, EarlyPages> pages_;
};

}  // namespace faultline::restore
