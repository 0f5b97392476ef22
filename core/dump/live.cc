#include "core/dump/live.h"

#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/base/log.h"
#include "core/dump/hold.h"
#include "core/dump/live_source.h"
#include "core/sys/file_limit.h"
#include "pageserver/endpoint.h"
#include "pageserver/server.h"

namespace faultline::dump {

namespace {

// For the answer to DONE to get out.
constexpr std::chrono::seconds kFarewell(2);

class LiveServer {
 public:
  LiveServer(FrozenTree& tree, const LiveSettings& settings) : tree_(tree), settings_(settings), hold_(tree.tasks()) {}

  Result<void> start(const image::ImageDir& dir) {
    (void)sys::raise_file_limit();  // one descriptor for each process's memory, one for each client
    handover_ = TRY(Handover::make({.hold = [this] { return hold_.place(); }, .end = [this] { end(); }, .revoke = [this] { server_->revoke(); }},
                                   {.after = settings_.page_timeout}));
    sources_.emplace(TRY(LiveSource::load(dir, tree_.tasks(), *handover_)));
    pageserver::Listener listener = TRY(pageserver::listen_on(settings_.address, settings_.port));
    const std::string address = pageserver::text_of(listener.address);
    LOG_INFO("dump: ready to serve the memory of the processes on {}", address);
    // Clients may come from here on. They are answered only after this, so that it can still fail.
    if (settings_.ready) TRY(settings_.ready(address));
    pageserver::ServerOptions options;
    options.make_stream = settings_.make_stream;
    options.counters = settings_.counters;
    options.failed = [this](size_t left) {
      if (left == 0) handover_->unreachable();
    };
    server_ = TRY(pageserver::Server::start(*sources_, std::move(listener.socket), options));
    return {};
  }

  // Of several workers some may have been at work before another could not be made.
  Served not_started(const Error& e) {
    if (handover_ && handover_->stage() != Handover::Stage::kOpen) return {Afterwards::kStop, error(e.code, "{}. {}", e.what, advice())};
    return {Afterwards::kRun, wrap(e, "the processes cannot be served, and run on as before")};
  }

  Served serve() {
    std::string why;
    const Handover::Stage stage = handover_->wait(settings_.stop, why);
    if (stage == Handover::Stage::kGone) server_->drain(kFarewell);
    server_.reset();  // nobody looks at the processes any more
    switch (stage) {
      case Handover::Stage::kGone: return {settings_.afterwards, {}};
      case Handover::Stage::kKept: return taken_back(why);
      default: return {Afterwards::kStop, error(ENOTRECOVERABLE, "{}. {}", why, advice())};
    }
  }

 private:
  void end() {
    if (settings_.afterwards != Afterwards::kKill) return;
    for (const FrozenTask& task : tree_.tasks())
      if (!task.zombie()) ::syscall(SYS_pidfd_send_signal, task.pidfd.get(), SIGKILL, nullptr, 0);
  }

  Served taken_back(const std::string& why) {
    auto lifted = hold_.lift();
    if (!lifted) return {Afterwards::kRun, wrap(lifted.error(), "{}; the processes are kept here, but some may be stopped (kill -CONT {})", why, pids())};
    return {Afterwards::kRun, error(ECANCELED, "{}; the processes run on as before, and there is no checkpoint", why)};
  }

  std::string pids() {
    std::string text;
    for (const FrozenTask& task : tree_.tasks())
      if (!task.zombie()) text += fmt::format("{}{}", text.empty() ? "" : " ", task.pid);
    return text;
  }

  std::string advice() {
    const std::string all = pids();
    return fmt::format("A copy of the program may run elsewhere, so the processes here are left stopped. If it does, end them: kill -KILL {}. "
                       "Only if it surely does not, let them go on: kill -CONT {}", all, all);
  }

  FrozenTree& tree_;
  const LiveSettings& settings_;
  Hold hold_;
  std::unique_ptr<Handover> handover_;
  std::optional<OneSource> sources_;
  std::unique_ptr<pageserver::Server> server_;  // uses all of the above from its threads
};

}  // namespace

Served serve_live(const image::ImageDir& dir, FrozenTree& tree, const LiveSettings& settings) {
  LiveServer server(tree, settings);
  auto started = server.start(dir);
  if (!started) return server.not_started(started.error());
  return server.serve();
}

}  // namespace faultline::dump
