#include "core/restore/exit_pages.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <limits>

namespace faultline::restore {

namespace {

// include/linux/futex.h: the kernel gives up after so many nodes, should they be a circle.
constexpr unsigned kMostNodes = ROBUST_LIST_LIMIT;
// The lowest bit of a pointer in the list says that the futex inherits priorities.
Vaddr address_of(uint64_t pointer) { return pointer & ~uint64_t{1}; }

uint64_t clear_tid_addr(const image::CoreEntry& core) {
  if (core.thread_info) return core.thread_info->clear_tid_addr;
  return core.ti_aarch64 ? core.ti_aarch64->clear_tid_addr : 0;
}

}  // namespace

Result<void> ExitPages::add(const image::Task& task, pid_t pid) {
  UniqueFd& memory = memory_[pid];
  memory.reset(::open(fmt::format("/proc/{}/mem", pid).c_str(), O_RDONLY | O_CLOEXEC));
  if (!memory) return sys_error("pid {}: its memory cannot be opened", task.pid());
  const auto thread = [&](const image::CoreEntry& core) {
    if (const Vaddr word = clear_tid_addr(core)) want_word(pid, word);
    if (core.thread_core && core.thread_core->futex_rla) walks_.push_back({.pid = pid, .head = core.thread_core->futex_rla, .left = kMostNodes});
  };
  thread(task.core);
  for (const image::CoreEntry& core : task.threads) thread(core);
  return {};
}

Result<void> ExitPages::finish() {
  for (;;) {
    std::erase_if(walks_, [this](Walk& walk) { return follow(walk); });
    if (wanted_.empty()) return {};
    TRY(bring_(wanted_));
    wanted_.clear();
  }
}

bool ExitPages::follow(Walk& walk) {
  if (walk.node == 0) {
    std::array<uint64_t, 3> head;  // struct robust_list_head: list, futex_offset, list_op_pending
    const Got got = read(walk.pid, walk.head, std::as_writable_bytes(std::span(head)));
    if (got != Got::kBytes) return got == Got::kNever;
    walk.node = address_of(head[0]);
    walk.offset = head[1];
    if (const Vaddr pending = address_of(head[2])) want_word(walk.pid, pending + walk.offset);
  }
  while (walk.node != walk.head && walk.node != 0 && walk.left != 0) {
    want_word(walk.pid, walk.node + walk.offset);
    uint64_t next;
    const Got got = read(walk.pid, walk.node, std::as_writable_bytes(std::span(&next, 1)));
    if (got != Got::kBytes) return got == Got::kNever;
    walk.node = address_of(next);
    --walk.left;
  }
  return true;
}

void ExitPages::want_word(pid_t pid, Vaddr address) {
  std::array<std::byte, sizeof(uint32_t)> word;
  (void)read(pid, address, word);
}

// Read this way, a page that is missing is an error, where process_vm_readv(2) would wait for it: nobody serves it yet.
ExitPages::Got ExitPages::read(pid_t pid, Vaddr address, std::span<std::byte> to) {
  if (address > static_cast<uint64_t>(std::numeric_limits<off_t>::max()) - to.size()) return Got::kNever;
  if (::pread(memory_[pid].get(), to.data(), to.size(), static_cast<off_t>(address)) == static_cast<ssize_t>(to.size())) return Got::kBytes;
  Got got = Got::kNever;
  for (Vaddr page = page_down(address); page < address + to.size(); page += kPageSize)
    if (asked_.emplace(pid, page).second) wanted_.emplace_back(pid, page), got = Got::kLater;
  return got;
}

void wait_for_pages(std::span<const ExitPages::Page> pages) {
  for (const auto& [pid, page] : pages) {
    std::byte byte;
    const iovec here = {&byte, 1}, there = {reinterpret_cast<void*>(page), 1};
    (void)::process_vm_readv(pid, &here, 1, &there, 1, 0);
  }
}

}  // namespace faultline::restore
