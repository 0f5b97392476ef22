#include "core/sys/area_reader.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <csignal>
#include <functional>

namespace faultline::sys {

namespace {

// A process that has done `work` and stands still.
class Stopped {
 public:
  explicit Stopped(const std::function<bool()>& work) : pid_(::fork()) {
    if (pid_ == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (!work()) ::_exit(1);
      ::raise(SIGSTOP);
      ::_exit(0);
    }
    int status = 0;
    REQUIRE(::waitpid(pid_, &status, WUNTRACED) == pid_);
    REQUIRE(WIFSTOPPED(status));
  }
  ~Stopped() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  pid_t pid() const { return pid_; }

 private:
  pid_t pid_;
};

void* area(size_t pages, int flags, int protection = PROT_READ | PROT_WRITE, int fd = -1) {
  return ::mmap(nullptr, pages * kPageSize, protection, flags | (fd < 0 ? MAP_ANONYMOUS : 0), fd, 0);
}

// One area for each flag that a checkpoint knows, and some with several.
bool all_kinds() {
  for (int advice : {MADV_RANDOM, MADV_SEQUENTIAL, MADV_DONTFORK, MADV_MERGEABLE, MADV_HUGEPAGE, MADV_NOHUGEPAGE, MADV_DONTDUMP, MADV_WIPEONFORK})
    (void)::madvise(area(3, MAP_PRIVATE), 2 * kPageSize, advice);
  void* both = area(1, MAP_PRIVATE | MAP_NORESERVE, PROT_READ);
  if (::madvise(both, kPageSize, MADV_DONTFORK) != 0 || ::madvise(both, kPageSize, MADV_DONTDUMP) != 0) return false;
  const int file = ::open("/proc/self/exe", O_RDONLY), memory = ::memfd_create("m", 0);
  if (file < 0 || memory < 0 || ::ftruncate(memory, 1 << 20) != 0) return false;
  for (void* made : {area(2, MAP_PRIVATE | MAP_LOCKED), area(2, MAP_PRIVATE | MAP_GROWSDOWN), area(2, MAP_SHARED), area(2, MAP_SHARED, PROT_NONE),
                     area(2, MAP_PRIVATE, PROT_READ | PROT_EXEC, file), area(2, MAP_SHARED, PROT_READ, file), area(2, MAP_SHARED, PROT_READ | PROT_WRITE, memory),
                     area(2, MAP_PRIVATE, PROT_READ | PROT_WRITE, memory)})
    if (made == MAP_FAILED) return false;
  return true;
}

void check_equal(const std::vector<Area>& areas, const std::vector<Area>& expected) {
  REQUIRE(areas.size() == expected.size());
  for (size_t i = 0; i < areas.size(); ++i) {
    INFO(fmt::format("{:x}-{:x} {}", expected[i].start, expected[i].end, expected[i].name));
    CHECK(areas[i].start == expected[i].start);
    CHECK(areas[i].end == expected[i].end);
    CHECK(areas[i].name == expected[i].name);
    if (expected[i].name != "[vsyscall]") CHECK(areas[i].flags == expected[i].flags);
  }
}

}  // namespace

TEST_CASE("the iterator and smaps tell the same of all kinds of areas") {
  const Stopped process(all_kinds);
  AreaReader reader;
  const auto expected = read_smaps(process.pid());
  REQUIRE(expected);
  const auto areas = reader.read_by_iterator(process.pid());
  if (!areas) UNSCOPED_INFO(areas.error().what);
  REQUIRE(areas);
  check_equal(*areas, *expected);
  // Of many areas, which do not fit into one read.
  const Stopped large([] {
    for (int i = 0; i < 5000; ++i)
      if (area(1, MAP_PRIVATE, i % 2 ? PROT_READ : PROT_NONE) == MAP_FAILED) return false;
    return true;
  });
  const auto many = reader.read_by_iterator(large.pid()), many_expected = read_smaps(large.pid());
  REQUIRE((many && many_expected && many->size() > 5000));
  check_equal(*many, *many_expected);
}

TEST_CASE("of a process of whatever size the flags are those of smaps") {
  AreaReader reader;
  for (size_t pages : {size_t{16}, size_t{40'000}}) {
    const Stopped process([pages] {
      void* memory = area(pages, MAP_PRIVATE);
      return memory != MAP_FAILED && ::madvise(memory, pages * kPageSize, MADV_NOHUGEPAGE) == 0 && ::madvise(memory, pages * kPageSize, MADV_POPULATE_WRITE) == 0;
    });
    const auto areas = reader.read(process.pid()), expected = read_smaps(process.pid());
    REQUIRE((areas && expected));
    check_equal(*areas, *expected);
  }
}

TEST_CASE("a flag that was not learned is not guessed") {
  const Stopped process([] {
    const int fd = static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC));
    uffdio_api api = {UFFD_API, 0, 0};
    void* memory = area(40'000, MAP_PRIVATE);
    uffdio_register watched = {{reinterpret_cast<uint64_t>(memory), 40'000 * kPageSize}, UFFDIO_REGISTER_MODE_MISSING, 0};
    if (memory == MAP_FAILED || ::madvise(memory, 40'000 * kPageSize, MADV_POPULATE_WRITE) != 0) return false;
    return ::ioctl(fd, UFFDIO_API, &api) == 0 && ::ioctl(fd, UFFDIO_REGISTER, &watched) == 0;
  });
  AreaReader reader;
  const auto guessed = reader.read_by_iterator(process.pid());
  REQUIRE_FALSE(guessed);
  CHECK(guessed.error().code == ENOTSUP);
  const auto areas = reader.read(process.pid()), expected = read_smaps(process.pid());
  REQUIRE((areas && expected));
  check_equal(*areas, *expected);
  CHECK(std::ranges::any_of(*areas, [](const Area& a) { return a.has("um"); }));
}

TEST_CASE("a process that has ended has no areas") {
  AreaReader reader;
  const pid_t pid = ::fork();
  if (pid == 0) ::_exit(0);
  siginfo_t info;
  REQUIRE(::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT) == 0);
  const auto zombie = reader.read_by_iterator(pid);
  CHECK((zombie && zombie->empty()));
  ::waitpid(pid, nullptr, 0);
  const auto gone = reader.read_by_iterator(pid);
  REQUIRE_FALSE(gone);
  CHECK(gone.error().code == ESRCH);
}

}  // namespace faultline::sys
