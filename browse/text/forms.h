#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <iterator>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "browse/text/text.h"

namespace faultline::browse {

// Appends a formatted piece.
template <typename... Args>
void add(std::string& out, fmt::format_string<Args...> format, Args&&... args) {
  fmt::format_to(std::back_inserter(out), format, std::forward<Args>(args)...);
}

// "SIGTERM", "SIGRTMIN+3"; the number where there is no such signal.
std::string signal_name(uint64_t signal);
// The signals of a set (bit n-1 stands for signal n), separated by blanks; "none".
std::string signal_set(uint64_t set);
// "CLOCK_MONOTONIC"; the number where it is not known.
std::string clock_name(uint32_t clock);
// Two words of 32 bits, the low one first, as images hold capabilities.
uint64_t from_words(const std::vector<uint32_t>& words);
// One line per pending signal, in the order of the queue, after two blanks.
void add_queue(std::string& out, const std::optional<image::SignalQueueEntry>& queue);

// The signals that are pending in a queue, as a set.
uint64_t pending_set(const std::optional<image::SignalQueueEntry>& queue);

// One thread with what its process has for all threads.
struct ThreadState {
  std::shared_ptr<const image::CoreEntry> leader, core;

  const image::TaskCoreEntry& task() const { return *leader->tc; }
  // nullptr for zombies.
  const image::ThreadCoreEntry* thread() const { return core->thread_core ? &*core->thread_core : nullptr; }
  bool dead() const { return task().task_state == image::kTaskDead; }
  bool is_leader() const { return leader == core; }
  std::string comm() const;
  uint64_t blocked() const;
};
// Errors: those of Snapshot::core(); EBADMSG if the leader's image lacks the part of the process.
Result<ThreadState> thread_state(Snapshot& snapshot, const Snapshot::Process& process, uint32_t tid);

// What the memory of a process amounts to, in bytes, counted as the kernel does (mm/mmap.c, vm_stat_account).
struct Usage {
  uint64_t size = 0, locked = 0, data = 0, stack = 0, text = 0, libraries = 0;
  uint64_t stored = 0;  // private pages in the images
  uint64_t shared = 0;  // pages of shared memory in the images

  uint64_t resident() const { return stored + shared; }
};
Usage usage_of(const AddressSpace& memory);

// The value, or nullopt with a line in the log: for a part that a text can do without.
template <typename T>
std::optional<T> if_readable(Snapshot& snapshot, Result<T> result) {
  if (result) return std::move(*result);
  if (result.error().code != ENOENT) snapshot.note(result.error());
  return std::nullopt;
}

}  // namespace faultline::browse
