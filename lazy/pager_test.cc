#include "lazy/pager.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>

#include "lazy/test_target.h"

namespace faultline::lazy {
namespace {

using test::make_pages_file;
using test::stored_word;
using test::Target;

constexpr uint64_t kPages = 512;

uint64_t word(const std::byte* memory, uint64_t page, uint64_t w) {
  return reinterpret_cast<const volatile uint64_t*>(memory + page * kPageSize)[w];
}

// 0 if all pages are as stored, from `zero_from` on zero.
int verify(const std::byte* memory, uint64_t pages = kPages, uint64_t zero_from = kPages) {
  for (uint64_t i = 0; i < pages; ++i) {
    const uint64_t page = i * 7919 % pages;
    for (const uint64_t w : {uint64_t{0}, uint64_t{17}, uint64_t{511}})
      if (word(memory, page, w) != (page < zero_from ? stored_word(page, w) : 0)) return 1;
  }
  return 0;
}

int reap(pid_t pid) {
  int status = 0;
  waitpid(pid, &status, 0);
  return status;
}

TEST_CASE("memory arrives whole under every policy") {
  for (const Prefetch prefetch : {Prefetch::kNone, Prefetch::kSequential}) {
    Target target(kPages, make_pages_file(kPages), [](std::byte* m) { return verify(m, kPages, kPages - 100); }, kPages - 100);
    const pid_t guard = target.serve({.prefetch = prefetch});
    CHECK(target.wait() == 0);
    CHECK(reap(guard) == 0);
  }
}

TEST_CASE("everything can be filled before the process runs") {
  Target target(kPages, make_pages_file(kPages), [](std::byte* m) { return verify(m); });
  REQUIRE(target.pager().install(target.pid(), target.address() + 5 * kPageSize));
  uint64_t told = 0;
  REQUIRE(target.pager().fill_everything([&](uint64_t done, uint64_t all) { told = done == all ? all : 0; }));
  CHECK(told == kPages - 1);
  target.go();
  CHECK(target.wait() == 0);
}

TEST_CASE("an unmapped, emptied or moved range behaves as without a pager") {
  const auto body = [](std::byte* m) {
    if (madvise(m, 4 * kPageSize, MADV_DONTNEED) != 0 || word(m, 2, 9) != 0) return 1;
    void* const moved = mremap(m + 8 * kPageSize, 8 * kPageSize, 8 * kPageSize, MREMAP_MAYMOVE | MREMAP_FIXED, m + 100 * kPageSize);
    if (moved == MAP_FAILED) return 2;
    for (uint64_t i = 0; i < 8; ++i)
      if (word(m, 100 + i, 3) != stored_word(8 + i, 3)) return 3;
    if (munmap(m + 16 * kPageSize, 8 * kPageSize) != 0) return 4;
    if (mmap(m + 16 * kPageSize, 8 * kPageSize, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED) return 5;
    if (word(m, 17, 0) != 0) return 6;
    for (uint64_t page = 24; page < 100; ++page)
      if (word(m, page, 1) != stored_word(page, 1)) return 7;
    return 0;
  };
  Target target(kPages, make_pages_file(kPages), body);
  const pid_t guard = target.serve({.prefetch = Prefetch::kNone});
  CHECK(target.wait() == 0);
  CHECK(reap(guard) == 0);
}

TEST_CASE("forked children are served from what their parent had not got") {
  const auto body = [](std::byte* m) {
    reinterpret_cast<uint64_t*>(m)[0] = 7;
    madvise(m + kPageSize, kPageSize, MADV_DONTNEED);
    const pid_t pid = fork();
    if (pid == 0) {
      if (word(m, 0, 0) != 7 || word(m, 1, 0) != 0) _exit(1);
      if (fork() == 0) _exit(word(m, 9, 9) == stored_word(9, 9) ? 0 : 1);
      int status;
      ::wait(&status);
      _exit(status == 0 && word(m, 9, 8) == stored_word(9, 8) ? 0 : 2);
    }
    int status;
    waitpid(pid, &status, 0);
    return status == 0 && word(m, 9, 7) == stored_word(9, 7) ? 0 : 3;
  };
  Target target(kPages, make_pages_file(kPages), body);
  const pid_t guard = target.serve({.prefetch = Prefetch::kNone});
  CHECK(target.wait() == 0);
  CHECK(reap(guard) == 0);
}

TEST_CASE("a page that cannot be read kills the process instead of being zero") {
  UniqueFd file = make_pages_file(kPages);
  const UniqueFd same(fcntl(file.get(), F_DUPFD_CLOEXEC, 0));
  Target target(kPages, std::move(file), [](std::byte* m) { return verify(m); });
  REQUIRE(ftruncate(same.get(), 100 * kPageSize) == 0);
  const pid_t guard = target.serve({.prefetch = Prefetch::kNone});
  const int status = target.wait();
  CHECK(WIFSIGNALED(status));
  CHECK(WTERMSIG(status) == SIGKILL);
  CHECK(reap(guard) == 0);
}

TEST_CASE("first touches are recorded and replayed") {
  char directory[] = "/tmp/faultline-pager-test.XXXXXX";
  REQUIRE(mkdtemp(directory) != nullptr);
  const UniqueFd dir(open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  std::string name;
  std::vector<Vaddr> expected;
  {
    Target target(kPages, make_pages_file(kPages), [](std::byte* m) {
      for (const uint64_t page : {300, 20, 111}) (void)word(m, page, 0);
      return 0;
    });
    for (const uint64_t page : {300, 20, 111}) expected.push_back(target.address() + page * kPageSize);
    name = image::working_set_name(target.pid());
    const pid_t guard = target.serve({.prefetch = Prefetch::kNone, .working_set_dir = dir.get(), .record = true});
    CHECK(target.wait() == 0);
    CHECK(reap(guard) == 0);
  }
  const auto recorded = image::read_working_set(dir.get(), name);
  REQUIRE(recorded);
  CHECK(*recorded == expected);
  {
    Target target(kPages, make_pages_file(kPages), [](std::byte* m) { return verify(m); });
    // The recording is of another process: given to this one, its addresses moved along.
    std::vector<Vaddr> moved;
    for (const uint64_t page : {300, 20, 111}) moved.push_back(target.address() + page * kPageSize);
    REQUIRE(image::write_working_set(dir.get(), image::working_set_name(target.pid()), moved));
    CHECK(*target.pager().fill_recorded(dir.get(), std::chrono::microseconds(0)) == 0);
    CHECK(*target.pager().fill_recorded(dir.get(), std::chrono::seconds(60)) == 3);
    const pid_t guard = target.serve({.prefetch = Prefetch::kRecorded, .working_set_dir = dir.get()});
    CHECK(target.wait() == 0);
    CHECK(reap(guard) == 0);
    unlinkat(dir.get(), image::working_set_name(target.pid()).c_str(), 0);
  }
  // A damaged recording is refused.
  const UniqueFd file(openat(dir.get(), name.c_str(), O_WRONLY | O_CLOEXEC));
  REQUIRE(pwrite(file.get(), "x", 1, 30) == 1);
  CHECK(image::read_working_set(dir.get(), name).error().code == EBADMSG);
  const std::string cleanup = std::string("rm -rf ") + directory;
  CHECK(system(cleanup.c_str()) == 0);
}

TEST_CASE("kill -9 of the pager, again and again, is not noticed by the process") {
  Target target(kPages * 8, make_pages_file(kPages * 8), [](std::byte* m) { return verify(m, kPages * 8, kPages * 8); });
  const pid_t guard = target.serve({.prefetch = Prefetch::kNone});
  pid_t pager = -1;
  for (int i = 0; i < 12; ++i) {
    const auto next = test::wait_for_child(guard, pager);
    if (!next) break;
    pager = *next;
    kill(pager, SIGKILL);
  }
  CHECK(target.wait() == 0);
  CHECK(reap(guard) == 0);
}

TEST_CASE("a pager that cannot be replaced ends its processes, which never see zeros") {
  Target target(kPages, make_pages_file(kPages), [](std::byte*) -> int {
    for (;;) pause();  // never touches a page, so that the pager has work for ever
  });
  const pid_t guard = target.serve({.prefetch = Prefetch::kNone});
  pid_t pager = -1;
  while (const auto next = test::wait_for_child(guard, pager)) {
    pager = *next;
    kill(pager, SIGKILL);
  }
  CHECK(WEXITSTATUS(reap(guard)) == 1);
  const int end = target.wait();
  CHECK(WIFSIGNALED(end));
  CHECK(WTERMSIG(end) == SIGKILL);
}

TEST_CASE("without its guard the pager goes on") {
  Target target(kPages, make_pages_file(kPages), [](std::byte* m) { return verify(m); });
  const pid_t guard = *target.pager().detach({.prefetch = Prefetch::kNone, .keep_fds = {2}});
  const auto pager = test::wait_for_child(guard, -1);
  REQUIRE(pager);
  kill(guard, SIGKILL);
  reap(guard);
  target.go();
  CHECK(target.wait() == 0);
}

}  // namespace
}  // namespace faultline::lazy
