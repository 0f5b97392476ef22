#pragma once

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>

#include "pageserver/endpoint.h"
#include "pageserver/server.h"
#include "pageserver/tls.h"

// What the benchmarks of the page server have in common: a server without images.
namespace faultline::bench {

template <typename T>
T check(Result<T> result) {
  if (!result) {
    fprintf(stderr, "%s\n", result.error().what.c_str());
    exit(1);
  }
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

// The pages file, as the memory of the process 1 at kRemoteBase.
class FileSource final : public pageserver::PageSource, public pageserver::Sources, public std::enable_shared_from_this<FileSource> {
 public:
  FileSource(int fd, uint64_t length) : fd_(fd), length_(length) {}
  Result<pageserver::Place> locate(const pageserver::Range& range) override {
    const uint64_t offset = range.address - kRemoteBase;
    if (range.address < kRemoteBase || offset >= length_) return error(ENOENT, "no page at {:#x}", range.address);
    return pageserver::Place{.pages = std::min(range.pages, (length_ - offset) / kPageSize), .fd = fd_, .offset = offset};
  }
  Result<std::shared_ptr<const std::string>> list_files() override { return error(ENOTSUP, "no files"); }
  Result<pageserver::ServedFile> open_file(const std::string&) override { return error(ENOENT, "no files"); }
  Result<std::shared_ptr<pageserver::PageSource>> find(const std::string&) override { return std::shared_ptr<pageserver::PageSource>(shared_from_this()); }
  Result<std::string> names() override { return std::string(); }

  static constexpr uint64_t kRemoteBase = uint64_t{1} << 32;

 private:
  int fd_;
  uint64_t length_;
};

// A page server in a child, with TLS if there is a context; gives its pid and port. On loopback, or `far`: on all addresses of a network namespace of its own.
inline std::pair<pid_t, uint16_t> serve(int fd, uint64_t length, const pageserver::TlsContext* tls = nullptr, bool far = false) {
  int tell[2];
  check(pipe2(tell, O_CLOEXEC) == 0 ? Result<void>() : sys_error("cannot create a pipe"));
  const pid_t pid = fork();
  if (pid != 0) {
    close(tell[1]);
    uint16_t port = 0;
    if (read(tell[0], &port, sizeof port) != sizeof port) exit(1);
    close(tell[0]);
    return {pid, port};
  }
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (far) check(unshare(CLONE_NEWNET) == 0 ? Result<void>() : sys_error("cannot create a network namespace"));
  auto listener = check(pageserver::listen_on(far ? "0.0.0.0" : "", 0));
  (void)!write(tell[1], &listener.port, sizeof listener.port);
  signal(SIGPIPE, SIG_IGN);
  const auto source = std::make_shared<FileSource>(fd, length);
  pageserver::ServerOptions options;
  if (tls) options.make_stream = [tls](UniqueFd socket) { return pageserver::tls_stream(std::move(socket), *tls, pageserver::TlsRole::kServer, ""); };
  const auto server = check(pageserver::Server::start(*source, std::move(listener.socket), options));
  for (;;) pause();
}

}  // namespace faultline::bench
