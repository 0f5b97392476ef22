#pragma once

#include <sys/types.h>

#include <functional>
#include <map>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include "core/base/mapping.h"
#include "core/base/unique_fd.h"
#include "core/image/checkpoint.h"

namespace faultline::restore {

// Memory that the kernel reads and writes for a thread that ends: the word of set_tid_address(2), and the list of set_robust_list(2) with the
// futexes that hang on it. A thread that ends is not made to wait for a page (handle_userfault in fs/userfaultfd.c refuses PF_EXITING): the
// kernel takes the access for a bad address, and whoever waits for the thread, or for a mutex of it, waits for ever. So these pages are
// there before anything runs.
//
// Those of the lists as they were dumped are enough. What is added later, the thread has written itself, so that it has come by then: the
// node, its neighbours, the word. The same is true of a list or a word that the thread names to the kernel later and has once written to.
class ExitPages {
 public:
  using Page = std::pair<pid_t, Vaddr>;  // of which process, by the pid that we know it by
  // Puts pages in, also zeros where nothing was stored, and returns when they are there.
  using Bring = std::function<Result<void>(std::span<const Page>)>;

  explicit ExitPages(Bring bring) : bring_(std::move(bring)) {}

  // All threads of a process that does not run: its address space is complete, but pages may be missing.
  Result<void> add(const image::Task& task, pid_t pid);
  // Brings them. A list may hold anything: it is followed as far as the kernel does.
  // Errors: those of `bring`.
  Result<void> finish();

 private:
  // The list of one thread, as far as it has been followed.
  struct Walk {
    pid_t pid;
    Vaddr head;
    Vaddr node = 0;       // the next one; 0: the head has not been read
    uint64_t offset = 0;  // from a node to its futex; wraps around
    unsigned left;        // nodes
  };
  enum class Got { kBytes, kLater, kNever };  // kLater: when what is wanted was brought

  Got read(pid_t pid, Vaddr address, std::span<std::byte> to);
  void want_word(pid_t pid, Vaddr address);
  // True: the end is reached, or cannot be.
  bool follow(Walk& walk);

  Bring bring_;
  std::map<pid_t, UniqueFd> memory_;
  std::vector<Walk> walks_;
  std::set<Page> asked_;  // of bring_, once each
  std::vector<Page> wanted_;
};

// Another way to bring them, where somebody serves the faults of the processes already: waits for each page as whoever touches it does. An
// address that cannot be read has nothing to wait for.
void wait_for_pages(std::span<const ExitPages::Page> pages);

}  // namespace faultline::restore
