// A program that forks, moves, empties, unmaps and splits its memory while it arrives, beside a model of what it must contain.
// FAULTLINE_STRESS_OPS and FAULTLINE_STRESS_SEED change the amount (default 10^5) and the beginning.
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

#include "lazy/test_target.h"

namespace faultline::lazy {
namespace {

using test::stored_word;

constexpr uint64_t kPages = 1024;       // lazy ones
constexpr uint64_t kWindow = 3 * kPages;  // places that they can be moved to
constexpr uint64_t kOpsPerRound = 2500;

// What one page of the window must contain.
struct Page {
  enum Base { kUnmapped, kZero, kStored } base = kUnmapped;
  uint64_t stored = 0;  // which, for kStored
  uint64_t first = 0;   // what was written to its first word; 0: nothing
};

// Runs inside the target.
class Program {
 public:
  Program(std::byte* memory, unsigned seed) : random_(seed), model_(kWindow) {
    // The lazy memory is moved into a window of its own, where nothing else gets mapped.
    window_ = static_cast<std::byte*>(mmap(nullptr, kWindow * kPageSize, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    if (mremap(memory, kPages * kPageSize, kPages * kPageSize, MREMAP_MAYMOVE | MREMAP_FIXED, window_) != window_) fail("mremap", 0);
    for (uint64_t i = 0; i < kPages; ++i) model_[i] = {Page::kStored, i, 0};
  }

  int run(uint64_t ops) {
    for (uint64_t i = 0; i < ops && ok_; ++i) step();
    for (uint64_t i = 0; i < kWindow && ok_; ++i) check(i);
    reap();
    return ok_ ? 0 : 1;
  }

 private:
  uint64_t below(uint64_t n) { return random_() % n; }
  std::byte* at(uint64_t page) { return window_ + page * kPageSize; }
  volatile uint64_t& word(uint64_t page, uint64_t w) { return reinterpret_cast<volatile uint64_t*>(at(page))[w]; }

  void fail(const char* what, uint64_t page) {
    if (ok_) fprintf(stderr, "stress: %s, page %llu of the window (%m)\n", what, static_cast<unsigned long long>(page));
    ok_ = false;
  }

  void check(uint64_t page) {
    const Page& p = model_[page];
    if (p.base == Page::kUnmapped) return;
    const uint64_t w = below(512);
    const uint64_t base = p.base == Page::kStored ? stored_word(p.stored, w) : 0;
    const uint64_t expected = w == 0 && p.first != 0 ? p.first : base;
    if (word(page, w) != expected) fail("wrong contents", page);
    if (p.first != 0 && word(page, 0) != p.first) fail("a write is lost", page);
  }

  // The longest run of mapped pages from a random one on, at most `limit`.
  std::pair<uint64_t, uint64_t> mapped_run(uint64_t limit) {
    const uint64_t from = below(kWindow);
    uint64_t n = 0;
    while (n < limit && from + n < kWindow && model_[from + n].base != Page::kUnmapped) ++n;
    return {from, n};
  }

  void step() {
    const uint64_t choice = below(100);
    if (choice < 60) {
      check(below(kWindow));
    } else if (choice < 80) {
      const uint64_t page = below(kWindow);
      if (model_[page].base == Page::kUnmapped) return;
      word(page, 0) = model_[page].first = random_() | 1;
    } else {
      const auto [from, n] = mapped_run(1 + below(16));
      if (n == 0) return;
      if (choice < 86) empty(from, n);
      else if (choice < 89) unmap(from, n);
      else if (choice < 95) move(from, n);
      else if (choice < 98) split(from, n);
      else fork_once();
    }
  }

  void empty(uint64_t from, uint64_t n) {
    if (madvise(at(from), n * kPageSize, MADV_DONTNEED) != 0) fail("madvise", from);
    for (uint64_t i = 0; i < n; ++i) model_[from + i] = {Page::kZero, 0, 0};
  }

  void unmap(uint64_t from, uint64_t n) {
    // Replaced in one step, so that nothing else gets mapped there; every second time by memory that is usable.
    const bool usable = below(2) == 0;
    if (mmap(at(from), n * kPageSize, usable ? PROT_READ | PROT_WRITE : PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
      fail("mmap", from);
    for (uint64_t i = 0; i < n; ++i) model_[from + i] = {usable ? Page::kZero : Page::kUnmapped, 0, 0};
  }

  void move(uint64_t from, uint64_t n) {
    const uint64_t to = below(kWindow - n);
    if (from < to + n && to < from + n) return;
    // One mapping at a time: mremap does not move several.
    for (uint64_t i = 0; i < n; ++i) {
      if (mremap(at(from + i), kPageSize, kPageSize, MREMAP_MAYMOVE | MREMAP_FIXED, at(to + i)) == MAP_FAILED) return fail("mremap", from + i);
      model_[to + i] = model_[from + i];
      model_[from + i] = {};
      if (mmap(at(from + i), kPageSize, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) == MAP_FAILED)
        return fail("mmap", from + i);
      if (i == 3) break;
    }
  }

  void split(uint64_t from, uint64_t n) {
    if (mprotect(at(from), n * kPageSize, PROT_READ) != 0) fail("mprotect", from);
    check(from);
    if (mprotect(at(from), n * kPageSize, PROT_READ | PROT_WRITE) != 0) fail("mprotect", from);
  }

  void fork_once() {
    if (is_child_) return;
    reap();
    child_ = fork();
    if (child_ != 0) return;
    is_child_ = true;
    for (int i = 0; i < 30 && ok_; ++i) step();
    _exit(ok_ ? 0 : 1);
  }

  void reap() {
    if (child_ <= 0 || is_child_) return;
    int status = 0;
    waitpid(std::exchange(child_, 0), &status, 0);
    if (status != 0) fail("the contents of a child are wrong, or it was killed", 0);
  }

  std::mt19937 random_;
  std::vector<Page> model_;
  std::byte* window_ = nullptr;
  pid_t child_ = 0;
  bool is_child_ = false;
  bool ok_ = true;
};

uint64_t setting(const char* name, uint64_t otherwise) {
  const char* const value = getenv(name);
  return value == nullptr ? otherwise : strtoull(value, nullptr, 0);
}

void round(unsigned seed, Prefetch prefetch, int kills) {
  CAPTURE(seed);
  test::Target target(kPages, test::make_pages_file(kPages), [seed](std::byte* m) { return Program(m, seed).run(kOpsPerRound); });
  const pid_t guard = target.serve({.prefetch = prefetch});
  pid_t pager = -1;
  for (int i = 0; i < kills; ++i) {
    const auto next = test::wait_for_child(guard, pager);
    if (!next) break;
    pager = *next;
    kill(pager, SIGKILL);
  }
  CHECK(target.wait() == 0);
  int status = 0;
  waitpid(guard, &status, 0);
  CHECK(status == 0);
}

TEST_CASE("a busy program stays exact while its memory arrives") {
  const unsigned seed = static_cast<unsigned>(setting("FAULTLINE_STRESS_SEED", 1));
  const uint64_t rounds = setting("FAULTLINE_STRESS_OPS", 100000) / kOpsPerRound;
  for (unsigned i = 0; i < rounds; ++i) round(seed + i, (seed + i) % 2 != 0 ? Prefetch::kNone : Prefetch::kSequential, 0);
}

TEST_CASE("and also when its pager is killed under it") {
  const unsigned seed = static_cast<unsigned>(setting("FAULTLINE_STRESS_SEED", 1)) + 1000;
  for (unsigned i = 0; i < 10; ++i) round(seed + i, Prefetch::kNone, 10);
}

}  // namespace
}  // namespace faultline::lazy
