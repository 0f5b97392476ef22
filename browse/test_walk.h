#pragma once

#include <vector>

#include "browse/diff.h"
#include "browse/snapshot.h"

// For tests and the fuzz target: looks at everything that a checkpoint has, the way a curious user would.
namespace faultline::browse {

// What was found; errors are as good an answer as contents.
struct Walked {
  uint64_t answers = 0, errors = 0;
  uint64_t bytes = 0;  // of memory that was read

  template <typename T>
  void count(const Result<T>& result) {
    result ? ++answers : ++errors;
  }
};

// Looks at the memory of a process: every run of it by its ends, and the beginning of what can be read.
inline void walk_memory(const AddressSpace& memory, Walked& walked) {
  std::vector<std::byte> buffer(3 * kPageSize);
  uint64_t runs = 0;
  for (const AddressSpace::Area& area : memory.areas())
    for (Vaddr at = area.vma->start; at < area.vma->end && runs < 2000; ++runs) {
      const AddressSpace::Run run = memory.run_at(at, area.vma->end);
      FL_CHECK(run.start == at && run.end > at && run.end <= area.vma->end);
      const auto size = std::min<uint64_t>(buffer.size(), run.end - at);
      const auto read = memory.read(at, std::span(buffer).first(size));
      walked.count(read);
      if (read) {
        FL_CHECK(*read > 0 && *read <= size);
        walked.bytes += *read;
      }
      at = run.end;
    }
  // Beside all areas, too.
  for (const Vaddr at : {Vaddr{0}, Vaddr{1} << 47, image::kUserSpaceEnd, ~Vaddr{0} - 4096}) walked.count(memory.read(at, std::span(buffer).first(1)));
  (void)memory.next(true, 0, ~Vaddr{0});
  (void)memory.next(false, 0, ~Vaddr{0});
}

inline Walked walk(Snapshot& snapshot) {
  Walked walked;
  walked.count(snapshot.files());
  walked.count(snapshot.remaps());
  walked.count(snapshot.memfds());
  for (const uint32_t object : snapshot.shared_objects()) walked.count(snapshot.shared_pages(object));
  for (const Snapshot::Process& process : snapshot.processes()) {
    for (const uint32_t tid : process.threads) walked.count(snapshot.core(tid));
    walked.count(snapshot.ids(process.pid));
    walked.count(snapshot.fs(process.pid));
    const auto fds = snapshot.fds(process.pid);
    walked.count(fds);
    if (fds)
      for (const image::FdinfoEntry& fd : **fds) (void)snapshot.path_of(fd.id);
    const auto memory = snapshot.memory(process.pid);
    walked.count(memory);
    if (memory) walk_memory(**memory, walked);
  }
  return walked;
}

}  // namespace faultline::browse
