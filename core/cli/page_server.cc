#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <system_error>
#include <thread>

#include "core/base/log.h"
#include "core/cli/action_scripts.h"
#include "core/cli/background.h"
#include "core/cli/commands.h"
#include "core/cli/json_text.h"
#include "core/cli/observe.h"
#include "core/cli/page_server_link.h"
#include "core/cli/pid_file.h"
#include "core/sys/file_limit.h"
#include "core/sys/service.h"
#include "pageserver/catalog.h"
#include "pageserver/endpoint.h"
#include "pageserver/metrics.h"
#include "pageserver/receiver.h"
#include "pageserver/server.h"
#include "pageserver/tls.h"

namespace faultline::cli {

namespace {

constexpr std::chrono::seconds kDrainTime(10);

// Where clients come from: one of these two.
struct Door {
  UniqueFd listener;    // a listening socket
  UniqueFd connection;  // --ps-socket: one that is connected
  std::string address;  // listened on, for messages
  int port = 0;
};

pageserver::Compress compress_of(const Options& o) {
  if (o.compress == "none") return pageserver::Compress::kNone;
  if (o.compress == "lz4") return pageserver::Compress::kLz4;
  if (o.compress == "zstd") return pageserver::Compress::kZstd;
  return pageserver::Compress::kAuto;
}

// A name that means the same to whoever looks at it from elsewhere.
std::string absolute(const Context& context, const std::string& path) { return path.starts_with('/') ? path : context.start_dir + "/" + path; }

Result<pageserver::SocketAddress> own_address(const UniqueFd& listener) {
  pageserver::SocketAddress own;
  own.length = sizeof own.storage;
  if (getsockname(listener.get(), reinterpret_cast<sockaddr*>(&own.storage), &own.length) < 0) return sys_error("cannot find out what is listened on");
  return own;
}

Result<Door> describe(UniqueFd listener) {
  const pageserver::SocketAddress own = TRY(own_address(listener));
  Door door;
  door.listener = std::move(listener);
  door.address = pageserver::text_of(own);
  if (const size_t colon = door.address.rfind(':'); colon != std::string::npos) door.port = atoi(door.address.c_str() + colon + 1);
  return door;
}

// The service manager says where to listen, not what may be sent there unencrypted.
Result<Door> take_over(std::vector<UniqueFd> sockets, const Options& o) {
  if (sockets.size() > 1)
    return error(EINVAL, "the service manager hands over {} sockets, and a page server listens on one; leave one ListenStream= in the socket unit", sockets.size());
  const pageserver::SocketAddress own = TRY(own_address(sockets.front()));
  const int family = own.storage.ss_family;
  if (family == AF_INET || family == AF_INET6)
    if (auto checked = check_network(own, o); !checked) return wrap(checked.error(), "ListenStream= in the socket unit");
  return describe(std::move(sockets.front()));
}

// Opened before the daemon is forked, so that failures are told to the caller, and a client may connect once the command has returned.
Result<Door> open_door(const Options& o) {
  if (o.port > UINT16_MAX) return error(EINVAL, "--port: {} is no port; the highest is {}", o.port, UINT16_MAX);
  if (o.ps_socket >= 0) {
    if (fcntl(o.ps_socket, F_SETFD, FD_CLOEXEC) < 0) return sys_error("--ps-socket: descriptor {}", o.ps_socket);
    Door door;
    door.connection = UniqueFd(o.ps_socket);
    return door;
  }
  auto inherited = sys::inherited_sockets();
  if (!inherited.empty()) return take_over(std::move(inherited), o);
  // CRIU's server listens everywhere unless it is told otherwise.
  const std::string host = o.address.empty() && o.as_criu ? "0.0.0.0" : o.address;
  const auto port = static_cast<uint16_t>(o.port);
  TRY(check_network(host, o));
  return describe(TRY(pageserver::listen_on(host, port, 1024)).socket);
}

void reopen_log() {
  if (auto done = log::reopen(); !done) LOG_ERROR("page server: {}", done.error().what);
}

class PageServer {
 public:
  PageServer(Context& context, ActionScripts& scripts, Door door) : context_(context), options_(context.options), scripts_(scripts), door_(std::move(door)) {}

  // Sends the memory of checkpoints to whoever asks, until it is told to end.
  Result<int> serve(const Ready& ready);
  // Takes the memory of one dump in.
  Result<int> receive(const Ready& ready);

 private:
  Result<void> block_signals();
  Result<void> say_ready(const Ready& ready);
  Result<int> wait(pageserver::Server& server);
  Result<UniqueFd> accept_one();
  Result<std::unique_ptr<pageserver::Stream>> make_stream(UniqueFd socket);

  Context& context_;
  const Options& options_;
  ActionScripts& scripts_;
  Door door_;
  std::unique_ptr<pageserver::TlsContext> tls_;
  UniqueFd signals_, alone_;
  std::atomic<bool> failed_ = false;  // a worker has given up
};

// Opens the log again at each SIGHUP, while somebody else waits for other things.
class HangUps {
 public:
  // SIGHUP is blocked. Errors: those of eventfd(2) and of thread creation.
  Result<void> start() {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGHUP);
    signals_ = UniqueFd(signalfd(-1, &set, SFD_CLOEXEC));
    end_ = UniqueFd(eventfd(0, EFD_CLOEXEC));
    if (!signals_ || !end_) return sys_error("cannot make a descriptor for signals");
    try {
      thread_ = std::thread([this] { run(); });
    } catch (const std::system_error& e) {
      return error(e.code().value(), "cannot start a thread: {}", e.what());
    }
    return {};
  }
  ~HangUps() {
    if (!thread_.joinable()) return;
    const uint64_t one = 1;
    (void)!::write(end_.get(), &one, sizeof one);
    thread_.join();
  }

 private:
  void run() {
    for (;;) {
      pollfd fds[] = {{signals_.get(), POLLIN, 0}, {end_.get(), POLLIN, 0}};
      if (poll(fds, 2, -1) < 0 && errno != EINTR) return;
      if (fds[1].revents) return;
      signalfd_siginfo info;
      if (fds[0].revents && ::read(signals_.get(), &info, sizeof info) == sizeof info) reopen_log();
    }
  }

  UniqueFd signals_, end_;
  std::thread thread_;
};

// Before threads are started, which inherit it.
Result<void> PageServer::block_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&set, signal);
  if (sigprocmask(SIG_BLOCK, &set, nullptr) < 0) return sys_error("cannot block signals");
  sigdelset(&set, SIGHUP);
  signals_ = UniqueFd(signalfd(-1, &set, SFD_CLOEXEC));
  alone_ = UniqueFd(eventfd(0, EFD_CLOEXEC));
  if (!signals_ || !alone_) return sys_error("cannot make a descriptor for signals");
  return {};
}

Result<void> PageServer::say_ready(const Ready& ready) {
  if (!door_.address.empty()) {
    LOG_INFO("page server: listening on {}", door_.address);
    TRY(write_number_file("--portfile", options_.portfile, door_.port));
    if (options_.json) printf("{\"command\": \"page-server\", \"address\": %s, \"port\": %d}\n", json_string(door_.address).c_str(), door_.port);
    fflush(stdout);
  }
  TRY(scripts_.run("status-ready"));
  TRY(tell_status(options_.status_fd));
  sys::notify_service_manager("READY=1");
  return ready();
}

Result<std::unique_ptr<pageserver::Stream>> PageServer::make_stream(UniqueFd socket) {
  if (tls_) return pageserver::tls_stream(std::move(socket), *tls_, pageserver::TlsRole::kServer, wanted_client(options_));
  return pageserver::plain_stream(std::move(socket));
}

Result<UniqueFd> PageServer::accept_one() {
  for (;;) {
    pollfd fds[] = {{door_.listener.get(), POLLIN, 0}, {signals_.get(), POLLIN, 0}};
    if (poll(fds, 2, -1) < 0 && errno != EINTR) return sys_error("cannot wait for a dump");
    if (fds[1].revents) return error(ECANCELED, "interrupted before a dump has connected");
    UniqueFd socket(accept4(door_.listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (socket) return socket;
    if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) return sys_error("cannot accept the connection of a dump");
  }
}

Result<int> PageServer::receive(const Ready& ready) {
  tls_ = TRY(tls_context(options_));
  TRY(block_signals());
  HangUps hang_ups;
  TRY(hang_ups.start());
  TRY(say_ready(ready));
  const bool inherited = static_cast<bool>(door_.connection);
  UniqueFd socket = inherited ? std::move(door_.connection) : TRY(accept_one());
  door_.listener.reset();  // one dump is all it takes in
  // CRIU's dump leaves TLS out on an inherited socket.
  auto stream = TRY(inherited ? pageserver::plain_stream(std::move(socket)) : make_stream(std::move(socket)));
  pageserver::Receiver receiver(*context_.images);
  TRY(pageserver::receive_pages(*stream, receiver, signals_.get(), !inherited));
  LOG_INFO("page server: {} pages are on stable storage", receiver.pages());
  sys::notify_service_manager("STOPPING=1");
  return 0;
}

Result<int> PageServer::serve(const Ready& ready) {
  tls_ = TRY(tls_context(options_));
  TRY(block_signals());
  HangUps hang_ups;
  TRY(hang_ups.start());
  (void)sys::raise_file_limit();
  pageserver::Catalog catalog(TRY(context_.images->open_file(".", O_RDONLY | O_DIRECTORY)));
  pageserver::ServerOptions server_options;
  server_options.compress = compress_of(options_);
  server_options.max_clients = static_cast<size_t>(options_.max_clients);
  server_options.make_stream = [this](UniqueFd socket) { return make_stream(std::move(socket)); };
  const auto end = [this] {
    const uint64_t one = 1;
    (void)!::write(alone_.get(), &one, sizeof one);
  };
  if (door_.connection) server_options.alone = end;
  server_options.failed = [this, end](size_t left) {
    failed_ = true;
    if (left == 0) end();
  };
  Observation observation = TRY(observe(LiveKind::kServer, absolute(context_, options_.images_dir), options_));
  server_options.counters = &observation.live.server();
  auto server = TRY(pageserver::Server::start(catalog, std::move(door_.listener), server_options));
  if (door_.connection) server->adopt(std::move(door_.connection));
  std::unique_ptr<pageserver::MetricsServer> metrics;
  if (observation.metrics) metrics = TRY(pageserver::MetricsServer::start(std::move(observation.metrics), observation.live.page()));
  TRY(say_ready(ready));
  const int code = TRY(wait(*server));
  observation.live.retire();
  const auto& counters = server->counters();
  LOG_INFO("page server: {} connections, {} bytes on demand, {} in bulk", counters.connections.load(), counters.bytes_demand.load(), counters.bytes_bulk.load());
  if (failed_) return error(EIO, "page server: not all of its workers have worked to the end; the log says why");
  return code;
}

// Until a signal ends it, or the one client of --ps-socket is gone, or no worker is left.
Result<int> PageServer::wait(pageserver::Server& server) {
  for (;;) {
    pollfd fds[] = {{signals_.get(), POLLIN, 0}, {alone_.get(), POLLIN, 0}};
    if (poll(fds, 2, -1) < 0) {
      if (errno == EINTR) continue;
      return sys_error("cannot wait for signals");
    }
    if (fds[1].revents) return 0;
    signalfd_siginfo info;
    if (::read(signals_.get(), &info, sizeof info) != sizeof info) continue;
    sys::notify_service_manager("STOPPING=1");
    if (info.ssi_signo == SIGINT) {
      LOG_INFO("page server: interrupted");
      return 128 + SIGINT;
    }
    LOG_INFO("page server: told to end; what was asked for is answered first");
    if (!server.drain(kDrainTime)) LOG_WARNING("page server: {} clients did not take their answers within {} s", server.clients(), kDrainTime.count());
    return 0;
  }
}

// --prev-images-dir: where the pages are that a dump leaves out.
Result<void> link_parent(Context& context) {
  const Options& o = context.options;
  if (o.prev_images_dir.empty()) return {};
  TRY(context.images->remove("parent"));
  if (symlinkat(o.prev_images_dir.c_str(), context.images->fd(), "parent") < 0) return sys_error("--prev-images-dir: cannot make the link \"parent\"");
  if (auto parent = context.images->open_parent(); !parent) return wrap(parent.error(), "--prev-images-dir");
  return {};
}

Result<int> run_page_server(Context& context) {
  const Options& o = context.options;
  TRY(check_pid_file(o.pidfile));
  TRY(check_number_file("--portfile", o.portfile));
  ActionScripts scripts = TRY(ActionScripts::find(o.action_script, context.start_dir, context.images->fd()));
  PageServer server(context, scripts, TRY(open_door(o)));
  if (!o.lazy_pages) TRY(link_parent(context));
  const auto run = [&](const Ready& ready) { return o.lazy_pages ? server.serve(ready) : server.receive(ready); };
  if (o.detached) return run_in_background(o, run);
  return run([&] { return write_pid_file(o.pidfile, getpid()); });
}

}  // namespace

constinit const Command kPageServerCommand = {
    .name = "page-server",
    .verb = kPageServer,
    .summary = "serve the memory of checkpoints to other machines, or take it in",
    .usage = "[--images-dir DIR] [--lazy-pages] [--address HOST] [--port PORT] [OPTIONS]",
    .description = "Takes in the memory that one \"dump --page-server\" sends, writes it into DIR, and ends.\n"
                   "With --lazy-pages: serves the checkpoints in and below DIR to any number of restores, and keeps running. SIGTERM: answers what was asked for, and ends;\n"
                   "SIGINT: ends at once; SIGHUP: opens the log file again. Without --address it listens on 127.0.0.1 only, as memory holds secrets\n"
                   "(under the name criu: everywhere, as CRIU does).\n",
    .examples = "  faultline page-server -D /srv/checkpoints --lazy-pages --port 7777 -d -o server.log\n",
    .images = true,
    .privileged = false,
    .run = run_page_server,
};

}  // namespace faultline::cli
