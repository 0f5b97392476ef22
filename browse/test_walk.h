#pragma once

#include <numeric>
#include <vector>

#include "browse/diff.h"
#include "browse/elf_core.h"
#include "browse/snapshot.h"
#include "browse/summary.h"
#include "browse/text/text.h"

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

// Makes all texts of a process.
inline void walk_texts(Snapshot& snapshot, const Snapshot::Process& process, Walked& walked) {
  for (const TaskFile& file : task_files()) walked.count(file.make(snapshot, process));
  for (const TaskFile& link : task_links()) walked.count(link.make(snapshot, process));
  for (const uint32_t tid : process.threads)
    for (const ThreadFile& file : thread_files()) walked.count(file.make(snapshot, process, tid));
}

// Lists and opens what tasks share, and reads its beginning and its end.
inline void walk_objects(Snapshot& snapshot, Walked& walked) {
  std::vector<std::byte> buffer(kPageSize);
  for (const ObjectFolder& folder : object_folders()) {
    const auto names = folder.list(snapshot);
    walked.count(names);
    if (!names) continue;
    for (const std::string& name : *names) {
      const auto content = folder.open(snapshot, name);
      walked.count(content);
      if (!content) continue;
      const uint64_t size = (*content)->size();
      for (const uint64_t at : {uint64_t{0}, size / 2, size - std::min<uint64_t>(size, 7), size}) {
        const auto read = (*content)->read(at, buffer);
        walked.count(read);
        FL_CHECK(!read || *read <= size - at);
      }
    }
    walked.count(folder.open(snapshot, "no such name"));
  }
}

// Looks at the core of a process: every run by its ends, and the beginning of what can be read.
inline void walk_core(const ElfCore& core, Walked& walked) {
  std::vector<std::byte> buffer(3 * kPageSize);
  uint64_t runs = 0;
  for (uint64_t at = 0; at < core.size() && runs < 2000; ++runs) {
    const AddressSpace::Run run = core.run_at(at, core.size());
    FL_CHECK(run.start == at && run.end > at && run.end <= core.size());
    const auto size = std::min<uint64_t>(buffer.size(), run.end - at);
    const auto read = core.read(at, std::span(buffer).first(size));
    walked.count(read);
    FL_CHECK(!read || *read == size);
    at = run.end;
  }
  FL_CHECK(core.next(true, 0) == 0 && core.next(false, core.size()) == core.size());
}

inline void walk_summary(Snapshot& snapshot) {
  const Summary summary = summarize(snapshot);
  FL_CHECK(summary.processes.size() == snapshot.processes().size());
  for (const ProcessSummary& process : summary.processes) FL_CHECK(std::accumulate(process.bytes.begin(), process.bytes.end(), uint64_t{0}) == process.size);
  FL_CHECK(!summary_text(summary).empty() && !summary_json(summary).empty());
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
      for (const image::FdinfoEntry& fd : **fds) {
        (void)snapshot.path_of(fd.id);
        walked.count(fdinfo_text(snapshot, fd));
      }
    walk_texts(snapshot, process, walked);
    const auto memory = snapshot.memory(process.pid);
    walked.count(memory);
    if (memory) walk_memory(**memory, walked);
    const auto core = ElfCore::make(snapshot, process.pid);
    walked.count(core);
    if (core) walk_core(**core, walked);
  }
  walk_summary(snapshot);
  walk_objects(snapshot, walked);
  return walked;
}

}  // namespace faultline::browse
