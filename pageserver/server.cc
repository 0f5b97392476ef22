#include "pageserver/server.h"

#include <fcntl.h>

#include <algorithm>
#include <thread>

#include "core/base/log.h"
#include "core/sys/file_limit.h"

namespace faultline::pageserver {

namespace {

// Connections must leave descriptors for what they are there for: each pagemap has a pages file.
size_t clients_within_limits(size_t wanted) {
  const uint64_t files = sys::file_limit(), reserve = std::max<uint64_t>(files / 4, 64);
  const uint64_t possible = files > reserve ? files - reserve : 1;
  if (wanted <= possible) return wanted;
  LOG_WARNING("page server: no more than {} clients are served at a time, not {}: only {} files can be open; raise the limit (LimitNOFILE= of the unit, ulimit -Hn)",
              possible, wanted, files);
  return possible;
}

}  // namespace

Server::Server(Sources& sources, UniqueFd listener, const ServerOptions& options)
    : counters_(options.counters ? *options.counters : own_counters_),
      listener_(std::move(listener)),
      shared_{.sources = sources,
              .counters = counters_,
              .compress = options.compress,
              .max_clients = clients_within_limits(options.max_clients),
              .make_stream = options.make_stream ? options.make_stream : plain_stream,
              .none_left = [this, alone = options.alone] {
                std::lock_guard lock(mutex_);
                none_left_.notify_all();
                if (alone) alone();
              },
              .failed = options.failed,
              .newer_uring = options.newer_uring,
              .patience = options.patience} {}

Result<std::unique_ptr<Server>> Server::start(Sources& sources, UniqueFd listener, const ServerOptions& options) {
  std::unique_ptr<Server> server(new Server(sources, std::move(listener), options));
  server->helper_ = TRY(Helper::start());
  server->shared_.helper = server->helper_.get();
  const unsigned workers = options.workers != 0 ? options.workers : std::clamp(std::thread::hardware_concurrency(), 1u, 4u);
  // One that does not wait would make the ring ask for connections without end.
  if (const int fd = server->listener_.get(), flags = ::fcntl(fd, F_GETFL); flags >= 0) (void)::fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
  server->shared_.working = workers;
  for (unsigned i = 0; i < workers; ++i) {
    server->workers_.push_back(TRY(Worker::make(server->shared_, server->listener_.get())));
    TRY(server->workers_.back()->start());
  }
  return server;
}

Server::~Server() {
  for (const auto& worker : workers_) worker->stop();
  helper_.reset();  // it may still be busy for a worker that has failed
}

void Server::adopt(UniqueFd connection) {
  const auto at = std::ranges::find_if(workers_, [](const auto& worker) { return !worker->has_failed(); });
  (at == workers_.end() ? workers_.front() : *at)->adopt(std::move(connection));
}

bool Server::drain(std::chrono::milliseconds time) {
  for (const auto& worker : workers_) worker->drain();
  std::unique_lock lock(mutex_);
  return none_left_.wait_for(lock, time, [&] { return shared_.clients == 0; });
}

void Server::revoke() {
  for (const auto& worker : workers_) worker->revoke();
}

}  // namespace faultline::pageserver
