#pragma once

// For the tests of this room: a process with lazy memory, served by a real pager in other processes.

#include <sys/types.h>

#include <functional>
#include <optional>
#include <vector>

#include "lazy/pager.h"

namespace faultline::lazy::test {

// The 64-bit word at `word` (0-511) of the stored page `page`. Never 0.
inline uint64_t stored_word(uint64_t page, uint64_t word) { return (page + 1) * 0x9e3779b97f4a7c15 + word + 1; }

// A pages file in memory with `pages` pages of stored_word().
UniqueFd make_pages_file(uint64_t pages);

class Target {
 public:
  // Runs in the target process; the value is its exit status. `memory` is registered, read-write, private.
  using Body = std::function<int(std::byte* memory)>;

  // Forks a process with `pages` pages of lazy memory, backed by the file from its beginning, not running yet.
  // `missing_from`: pages from here on are not in the index, and read as zero.
  Target(uint64_t pages, UniqueFd pages_file, Body body, std::optional<uint64_t> missing_from = std::nullopt);
  // The same with the pages at a page server: page n of kObject is at the address n * kPageSize. `remote` must outlive the target.
  Target(uint64_t pages, RemoteOptions& remote, Body body);
  static constexpr pageserver::ObjectId kObject = pageserver::object_id(1, pageserver::kTaskMemory);
  ~Target();
  Target(const Target&) = delete;

  pid_t pid() const { return pid_; }
  Vaddr address() const { return address_; }
  Pager& pager() { return pager_; }
  // Starts guard and pager, then the body.
  pid_t serve(const DetachOptions& options);
  // Starts the body when nothing is left to be served.
  void go();
  // The status of waitpid(2).
  int wait();

 private:
  // Forks; gives the userfaultfd.
  UniqueFd begin(uint64_t pages, const Body& body);
  void add(UniqueFd uffd, uint64_t pages, uint32_t index, Vaddr origin);

  pid_t pid_ = -1;
  Vaddr address_ = 0;
  UniqueFd go_;
  Pager pager_;
};

// The one child of a process, or nullopt; waits until it has one that is not `other`, or the process has ended.
std::optional<pid_t> wait_for_child(pid_t parent, pid_t other);

}  // namespace faultline::lazy::test
