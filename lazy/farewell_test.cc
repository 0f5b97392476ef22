#include "lazy/farewell.h"

#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>

#include <catch2/catch.hpp>

namespace faultline::lazy {
namespace {

UniqueFd pidfd_of(pid_t pid) { return UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))); }

bool has_ended(const UniqueFd& pidfd) {
  pollfd p = {.fd = pidfd.get(), .events = POLLIN, .revents = 0};
  return ::poll(&p, 1, 0) > 0;
}

[[noreturn]] void sleep_for_ever() {
  for (;;) ::pause();
}

// A reaper with a root, with a child, and with an orphan: a grandchild of the root whose parent has ended.
class Family {
 public:
  Family() {
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    reaper = ::fork();
    if (reaper == 0) be_reaper(ends[1]);
    ::close(ends[1]);
    for (pid_t* pid : {&root, &child, &orphan}) REQUIRE(::read(ends[0], pid, sizeof *pid) == sizeof *pid);
    ::close(ends[0]);
    for (const pid_t pid : {reaper, root, child, orphan}) pidfds.push_back(pidfd_of(pid));
  }
  ~Family() {
    for (const UniqueFd& fd : pidfds) (void)::syscall(SYS_pidfd_send_signal, fd.get(), SIGKILL, nullptr, 0);
    (void)::waitpid(reaper, nullptr, 0);
  }

  HeldTree tree(bool with_reaper) const {
    HeldTree tree{.processes = {{root, pidfds[1].get()}}};
    if (with_reaper) tree.reaper = HeldProcess{reaper, pidfds[0].get()};
    return tree;
  }
  bool ended(pid_t pid) const {
    const pid_t all[] = {reaper, root, child, orphan};
    return has_ended(pidfds[static_cast<size_t>(std::find(all, all + 4, pid) - all)]);
  }

  pid_t reaper, root, child, orphan;
  std::vector<UniqueFd> pidfds;

 private:
  [[noreturn]] static void be_reaper(int tell) {
    ::prctl(PR_SET_CHILD_SUBREAPER, 1);
    if (::fork() == 0) be_root(tell);
    sleep_for_ever();
  }
  [[noreturn]] static void be_root(int tell) {
    pid_t pids[3] = {::getpid(), ::fork(), 0};
    if (pids[1] == 0) sleep_for_ever();
    int ends[2];
    (void)!::pipe(ends);
    const pid_t middle = ::fork();
    if (middle == 0) {
      const pid_t orphan = ::fork();
      if (orphan == 0) sleep_for_ever();
      (void)!::write(ends[1], &orphan, sizeof orphan);
      ::_exit(0);
    }
    (void)!::read(ends[0], &pids[2], sizeof pids[2]);
    (void)::waitpid(middle, nullptr, 0);
    (void)!::write(tell, pids, sizeof pids);
    sleep_for_ever();
  }
};

TEST_CASE("orphans of the tree are ended too, the one that gets them is not") {
  Family family;
  const auto ended = end_processes(family.tree(true));
  REQUIRE(ended);
  for (const pid_t pid : {family.root, family.child, family.orphan}) CHECK(family.ended(pid));
  CHECK(!family.ended(family.reaper));
}

TEST_CASE("without a reaper, or when it was killed, nobody says that all have ended") {
  for (const bool killed : {false, true}) {
    Family family;
    if (killed) {
      REQUIRE(::kill(family.reaper, SIGKILL) == 0);
      pollfd p = {.fd = family.pidfds[0].get(), .events = POLLIN, .revents = 0};
      REQUIRE(::poll(&p, 1, 10'000) == 1);
    }
    const auto ended = end_processes(family.tree(killed));
    REQUIRE(!ended);
    CHECK(ended.error().code == ESRCH);
    // What is known is ended all the same.
    CHECK(family.ended(family.root));
    CHECK(family.ended(family.child));
  }
}

TEST_CASE("who is gone already takes nobody else along") {
  Family family;
  const pid_t gone = ::fork();
  if (gone == 0) ::_exit(0);
  const UniqueFd pidfd = pidfd_of(gone);
  REQUIRE(::waitpid(gone, nullptr, 0) == gone);
  // As if the number had come to mean the reaper.
  HeldTree tree{.processes = {{family.reaper, pidfd.get()}}, .contained = false, .reaper = HeldProcess{family.root, family.pidfds[1].get()}};
  REQUIRE(end_processes(tree));
  CHECK(!family.ended(family.reaper));
  CHECK(!family.ended(family.root));
}

TEST_CASE("nothing is said of processes that nobody knows") {
  const auto ended = end_processes({});
  REQUIRE(!ended);
  CHECK(ended.error().code == ENOTSUP);
}

}  // namespace
}  // namespace faultline::lazy
