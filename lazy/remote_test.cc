#include "lazy/remote.h"

#include <signal.h>
#include <sys/wait.h>

#include <catch2/catch.hpp>

#include "core/image/captured_log.h"
#include "lazy/test_server.h"
#include "lazy/test_target.h"

namespace faultline::lazy {
namespace {

using namespace std::chrono_literals;
using test::ScriptedServer;
using test::stored_word;
using test::Target;

constexpr uint64_t kPages = 512;

bool is_stored(const std::byte* memory, uint64_t page) { return *reinterpret_cast<const volatile uint64_t*>(memory + page * kPageSize) == stored_word(page, 0); }

int reap(pid_t pid) {
  int status = 0;
  ::waitpid(pid, &status, 0);
  return status;
}

TEST_CASE("what a server cannot give for the moment is asked for again, and kills nobody") {
  const int code = GENERATE(EMFILE, ENFILE, ENOMEM, EAGAIN);
  ScriptedServer server;
  RemoteOptions remote = server.options();
  Target target(kPages, remote, [](std::byte* m) { return is_stored(m, 3) && is_stored(m, 300) ? 0 : 1; });
  const pid_t guard = target.serve({.prefetch = Prefetch::kNone});
  server.accept();
  for (int i = 0; i < 3; ++i) server.fail(server.read(), code, "not now");
  server.send(server.read());
  server.send(server.read());
  CHECK(target.wait() == 0);
  CHECK(reap(guard) == 0);
}

TEST_CASE("a page that the server will never have kills who waits for it") {
  ScriptedServer server;
  RemoteOptions remote = server.options();
  Target target(kPages, remote, [](std::byte* m) { return is_stored(m, 3) ? 0 : 1; });
  const pid_t guard = target.serve({.prefetch = Prefetch::kNone});
  server.accept();
  server.fail(server.read(), ENOENT, "it is not there");
  const int status = target.wait();
  CHECK(WIFSIGNALED(status));
  CHECK(reap(guard) == 0);
}

}  // namespace
}  // namespace faultline::lazy
