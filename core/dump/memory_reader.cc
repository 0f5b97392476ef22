#include "core/dump/memory_reader.h"

#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>

namespace faultline::dump {

Result<MemoryReader> MemoryReader::of_task(pid_t pid) {
  UniqueFd mem(::open(fmt::format("/proc/{}/mem", pid).c_str(), O_RDONLY | O_CLOEXEC));
  if (!mem) return sys_error("/proc/{}/mem", pid);
  MemoryReader reader(pid, mem.get());
  reader.mem_ = std::move(mem);
  return reader;
}

Result<void> MemoryReader::read(Vaddr from, std::span<std::byte> to) const { return pid_ ? read_task(from, to) : read_object(from, to); }

Result<void> MemoryReader::read_task(Vaddr from, std::span<std::byte> to) const {
  iovec here = {to.data(), to.size()}, there = {reinterpret_cast<void*>(from), to.size()};
  const ssize_t got = ::process_vm_readv(pid_, &here, 1, &there, 1, 0);
  if (got == static_cast<ssize_t>(to.size())) return {};
  if (got < 0 && errno != EFAULT) return sys_error("the memory of pid {} at {:#x} cannot be read", pid_, from);
  // Pages without read permission can be read only this way.
  return pread_all(fd_, to.data(), to.size(), static_cast<off_t>(from), "memory of the process");
}

Result<void> MemoryReader::read_object(Vaddr from, std::span<std::byte> to) const {
  size_t got = 0;
  while (got < to.size()) {
    const ssize_t n = ::pread(fd_, to.data() + got, to.size() - got, static_cast<off_t>(from + got));
    if (n < 0) return sys_error("shared memory cannot be read");
    if (n == 0) break;
    got += static_cast<size_t>(n);
  }
  std::fill(to.begin() + static_cast<ptrdiff_t>(got), to.end(), std::byte{0});
  return {};
}

}  // namespace faultline::dump
