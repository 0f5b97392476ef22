#include "core/sys/ptrace.h"

#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>

using namespace faultline;

TEST_CASE("a thread that has ended is gone, whether or not it was waited for") {
  const pid_t pid = ::fork();
  if (pid == 0) ::_exit(0);
  REQUIRE(pid > 0);
  siginfo_t info{};
  REQUIRE(::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT) == 0);
  const auto zombie = sys::Tracee::seize_and_interrupt(pid);
  REQUIRE(::waitpid(pid, nullptr, 0) == pid);
  const auto nothing = sys::Tracee::seize_and_interrupt(pid);
  REQUIRE(!zombie);
  CHECK(zombie.error().code == ESRCH);
  REQUIRE(!nothing);
  CHECK(nothing.error().code == ESRCH);
}

TEST_CASE("a thread of our own cannot be seized") {
  const auto own = sys::Tracee::seize_and_interrupt(::getpid());
  REQUIRE(!own);
  CHECK(own.error().code == EPERM);
}
