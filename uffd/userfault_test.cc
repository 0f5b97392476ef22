#include "uffd/userfault.h"

#include <poll.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <catch2/catch.hpp>
#include <cstring>
#include <thread>
#include <vector>

namespace faultline::uffd {
namespace {

struct Range {
  Mapping memory;
  Userfault fault;
  Vaddr start() const { return reinterpret_cast<Vaddr>(memory.data()); }
  UserfaultRef ref() const { return UserfaultRef(fault.get()); }
};

Range registered(size_t pages) {
  Range r{*Mapping::map(pages * kPageSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0, "test"),
          *Userfault::create(kLazyFeatures)};
  REQUIRE(r.fault.register_range(r.start(), pages * kPageSize));
  return r;
}

// Blocks until a message is there.
Event next(const UserfaultRef& ref) {
  pollfd p = {.fd = ref.get(), .events = POLLIN, .revents = 0};
  for (;;) {
    poll(&p, 1, -1);
    uffd_msg message;
    const auto n = ref.read({&message, 1});
    REQUIRE(n);
    if (*n == 1) return decode(message);
  }
}

std::array<char, kPageSize> page_of(char c) {
  std::array<char, kPageSize> page;
  page.fill(c);
  return page;
}

TEST_CASE("a fault waits for its page") {
  Range r = registered(4);
  char seen = 0;
  std::thread reader([&] { seen = static_cast<char>(r.memory.data()[2 * kPageSize + 5]); });
  const Event event = next(r.ref());
  CHECK(std::get<Fault>(event).address == r.start() + 2 * kPageSize);
  const auto page = page_of('x');
  const Progress p = r.ref().copy(r.start() + 2 * kPageSize, page.data(), kPageSize);
  CHECK(p.bytes == kPageSize);
  CHECK(p.error == 0);
  reader.join();
  CHECK(seen == 'x');
}

TEST_CASE("a copy stops at a page that is there, and says how far it came") {
  Range r = registered(4);
  const std::vector<char> source(4 * kPageSize, 'y');
  CHECK(r.ref().zeropage(r.start() + 2 * kPageSize, kPageSize).bytes == kPageSize);
  const Progress part = r.ref().copy(r.start(), source.data(), 4 * kPageSize);
  CHECK(part.bytes == 2 * kPageSize);
  CHECK(part.error != 0);
  const Progress next_page = r.ref().copy(r.start() + 2 * kPageSize, source.data(), kPageSize);
  CHECK(next_page.bytes == 0);
  CHECK(next_page.error == EEXIST);
}

TEST_CASE("a copy over the border of two areas stops there") {
  // Two areas in which pages were touched apart are not merged by the kernel, even when they look alike: here one is read-only.
  Range r = registered(8);
  REQUIRE(mprotect(r.memory.data() + 3 * kPageSize, 5 * kPageSize, PROT_READ) == 0);
  const std::vector<char> source(8 * kPageSize, 'b');
  uint64_t done = 0;
  while (done < 8 * kPageSize) {
    const Progress part = r.ref().copy(r.start() + done, source.data(), 8 * kPageSize - done);
    REQUIRE(part.bytes != 0);
    if (done < 3 * kPageSize) CHECK(done + part.bytes <= 3 * kPageSize);
    done += part.bytes;
  }
  CHECK(static_cast<char>(r.memory.data()[8 * kPageSize - 1]) == 'b');
}

TEST_CASE("a place that is not registered is ENOENT, a dead address space ESRCH") {
  Range r = registered(1);
  const auto page = page_of('z');
  CHECK(r.ref().copy(r.start() + 64 * kPageSize * kPageSize, page.data(), kPageSize).error == ENOENT);
  CHECK(r.ref().alive());
  int pair[2];
  REQUIRE(pipe(pair) == 0);
  // The child registers nothing: its copy of the parent's range comes with the fork event.
  std::thread forker([&] {
    const pid_t pid = fork();
    if (pid == 0) {
      char c;
      close(pair[1]);
      (void)!::read(pair[0], &c, 1);
      _exit(0);
    }
    close(pair[0]);
    close(pair[1]);
    int status;
    waitpid(pid, &status, 0);
  });
  const Event event = next(r.ref());
  UniqueFd child(std::get<Fork>(event).child);
  forker.join();
  CHECK_FALSE(UserfaultRef(child.get()).alive());
  CHECK(UserfaultRef(child.get()).copy(r.start(), page.data(), kPageSize).error == ESRCH);
}

TEST_CASE("events arrive with their ranges, and copies are refused while one waits") {
  Range r = registered(8);
  const auto page = page_of('w');
  std::byte* const at = r.memory.data();
  const Mapping place = *Mapping::map(2 * kPageSize, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0, "the place to move to");
  std::byte* const to = place.data();
  std::thread changer([&] {
    madvise(at, kPageSize, MADV_DONTNEED);
    munmap(at + 7 * kPageSize, kPageSize);
    void* const moved = mremap(at + 4 * kPageSize, 2 * kPageSize, 2 * kPageSize, MREMAP_MAYMOVE | MREMAP_FIXED, to);
    CHECK(moved == to);
  });
  pollfd p = {.fd = r.fault.get(), .events = POLLIN, .revents = 0};
  REQUIRE(poll(&p, 1, -1) == 1);
  CHECK(r.ref().copy(r.start() + kPageSize, page.data(), kPageSize).error == EAGAIN);
  const Event removed = next(r.ref());
  CHECK(std::get<Remove>(removed).start == r.start());
  CHECK(std::get<Remove>(removed).end == r.start() + kPageSize);
  const Event unmapped = next(r.ref());
  CHECK(std::get<Unmap>(unmapped).start == r.start() + 7 * kPageSize);
  const Event moved = next(r.ref());
  CHECK(std::get<Remap>(moved).from == r.start() + 4 * kPageSize);
  CHECK(std::get<Remap>(moved).to == reinterpret_cast<Vaddr>(to));
  CHECK(std::get<Remap>(moved).length == 2 * kPageSize);
  // The kernel also reports the place that was left.
  const Event left = next(r.ref());
  CHECK(std::get<Unmap>(left).start == r.start() + 4 * kPageSize);
  changer.join();
  // Unmapping what is still registered would wait for a reader.
  r.fault = Userfault();
}

TEST_CASE("a poisoned page kills who touches it") {
  Range r = registered(1);
  const Progress p = r.ref().poison(r.start(), kPageSize);
  if (p.error == EINVAL) {
    WARN("this kernel has no UFFDIO_POISON");
    return;
  }
  REQUIRE(p.bytes == kPageSize);
  // Reading through the kernel shows the page is an error and not zeros.
  int pair[2];
  REQUIRE(pipe(pair) == 0);
  CHECK(write(pair[1], r.memory.data(), 1) == -1);
  CHECK(errno == EFAULT);
  close(pair[0]);
  close(pair[1]);
}

}  // namespace
}  // namespace faultline::uffd
