// The agent inside a real process: its threads answer, and go on as if nothing had happened.
#include "core/agent/remote.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <catch2/catch.hpp>
#include <thread>

using namespace faultline;

namespace {

struct Shared {
  std::atomic<uint64_t> rounds;
  std::atomic<bool> end;
};

agent::StoppedThread stopped(pid_t tid) {
  auto tracee = sys::Tracee::stop(tid);
  REQUIRE(tracee);
  auto registers = arch::read_registers(tid);
  REQUIRE(registers);
  auto mask = tracee->blocked_signals();
  REQUIRE(mask);
  const arch::CallState call = arch::call_state(registers->general, -1);
  return {std::move(*tracee), std::move(*registers), call, *mask};
}

}  // namespace

TEST_CASE("threads answer and go on unharmed, round after round") {
  auto* shared = static_cast<Shared*>(::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  const pid_t child = ::fork();
  if (child == 0) {
    // A computation that notices any register or flag that changes under it.
    uint64_t x = 1;
    while (!shared->end) {
      uint64_t y = x;
      for (int i = 0; i < 1000; ++i) y = y * 6364136223846793005u + 1442695040888963407u;
      uint64_t z = x;
      for (int i = 0; i < 1000; ++i) z = z * 6364136223846793005u + 1442695040888963407u;
      if (y != z) ::_exit(1);
      x = y;
      ++shared->rounds;
    }
    ::_exit(0);
  }
  for (int round = 0; round < 200; ++round) {
    const uint64_t before = shared->rounds;
    while (shared->rounds == before) ::sched_yield();
    std::vector<agent::StoppedThread> threads;
    threads.push_back(stopped(child));
    std::vector<agent::Program> programs(1);
    const auto pid = programs[0].syscall("getpid", SYS_getpid, {});
    const auto bad = programs[0].syscall("a call that fails", SYS_close, {-1});
    auto done = agent::run_in_threads(child, threads, programs);
    INFO((done ? "" : done.error().what));
    REQUIRE(done);
    CHECK(programs[0].result(pid) == child);
    CHECK(programs[0].result(bad) == -EBADF);
  }
  shared->end = true;
  int status = -1;
  CHECK(::waitpid(child, &status, 0) == child);
  CHECK(status == 0);
  ::munmap(shared, 4096);
}
