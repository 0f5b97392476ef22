#pragma once

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <vector>

#include "pageserver/worker.h"

namespace faultline::pageserver {

struct ServerOptions {
  Compress compress = Compress::kAuto;
  size_t max_clients = 1024;  // fewer if the limit of open files is too low for so many; the log says so
  Patience patience = {};
  // Called by a worker when the last client has gone.
  std::function<void()> alone;
  // Called by a worker that has given up because of an error of the kernel; `left` go on. Its clients see the end of their connections.
  std::function<void(size_t left)> failed;
  // False: do without abilities that io_uring got after Linux 5.15. For tests.
  bool newer_uring = true;
  // Where it counts, in memory that others may see and that outlives the server; without it, in its own.
  Counters* counters = nullptr;
  unsigned workers = 0;  // 0: as many as there are processors, at most 4
  // Makes the stream of an accepted connection; without it, a plain one. Called by workers.
  std::function<Result<std::unique_ptr<Stream>>(UniqueFd)> make_stream;
};

// Serves pages to many clients, in threads of its own.
class Server {
 public:
  // `sources` must outlive the server. `listener`: a listening socket, or none (-1) if all connections come by adopt().
  static Result<std::unique_ptr<Server>> start(Sources& sources, UniqueFd listener, const ServerOptions& options);
  // Ends all connections at once.
  ~Server();
  Server(const Server&) = delete;

  const Counters& counters() const { return counters_; }
  size_t clients() const { return shared_.clients; }
  // Takes a connected socket over. It is used as it is, without make_stream.
  void adopt(UniqueFd connection);
  // Accepts no more connections, answers what was asked for, and ends; true if all was done within the time.
  bool drain(std::chrono::milliseconds time);
  // Tells all clients that a live source takes its processes back (PROTOCOL.md, section 5).
  void revoke();

 private:
  Server(Sources& sources, UniqueFd listener, const ServerOptions& options);

  Counters own_counters_;
  Counters& counters_;
  const UniqueFd listener_;
  std::mutex mutex_;
  std::condition_variable none_left_;
  Shared shared_;
  std::unique_ptr<Helper> helper_;
  std::vector<std::unique_ptr<Worker>> workers_;
};

}  // namespace faultline::pageserver
