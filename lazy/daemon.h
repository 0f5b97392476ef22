#pragma once

#include <sys/types.h>

#include <functional>
#include <optional>

#include "core/image/checkpoint.h"
#include "lazy/pager.h"

// CRIU's way of lazy restore: a daemon listens on the socket "lazy-pages.socket" in the work directory, and restore hands it a
// userfaultfd per process (formats/page-server-protocol.md, section 6). Either side may be CRIU.
namespace faultline::lazy {

inline constexpr const char* kDaemonSocket = "lazy-pages.socket";

// Restore's end of the connection. Dropped before finish(), it makes the daemon end with an error.
class DaemonConnection {
 public:
  // Connects to the daemon in the directory `work_dir`, with a descriptor not below `lowest_fd`; nullopt if there is none (no socket, or
  // nobody listens on it).
  // Errors: those of connect(2) otherwise.
  static Result<std::optional<DaemonConnection>> open(int work_dir, int lowest_fd = 0);

  // Hands over the userfaultfd of the process that had `pid` in the images. The caller's copy stays its own: it closes it after finish().
  Result<void> send(pid_t pid, int uffd);
  // A zombie has no memory, but is counted.
  Result<void> send_zombie(pid_t pid);
  // All processes were sent and the restore has succeeded: background filling begins.
  Result<void> finish();

 private:
  explicit DaemonConnection(UniqueFd socket) : socket_(std::move(socket)) {}
  UniqueFd socket_;
};

struct DaemonOptions {
  int work_dir = -1;
  DetachOptions pager;
  RemoteOptions* remote = nullptr;  // where pages are that are not in the images; connected when all processes were handed over
  // Called when the socket is there (status-ready script, --status-fd). Its error ends the daemon.
  std::function<Result<void>()> ready;
};

// Serves one restore of the checkpoint in `dir`: listens, takes the userfaultfds over, and returns when all pages are in place or all
// processes are gone. Private anonymous memory only: restore fills shared memory itself. The process must have no other threads.
// Errors: those of the images and of the socket; EPROTO if restore broke off; what ended the pager.
Result<void> run_daemon(const image::ImageDir& dir, const image::Checkpoint& checkpoint, const DaemonOptions& options);

}  // namespace faultline::lazy
