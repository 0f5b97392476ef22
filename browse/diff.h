#pragma once

#include <string>
#include <vector>

#include "browse/snapshot.h"

namespace faultline::browse {

// How the memory of a process differs between two checkpoints. Immutable.
struct ProcessDiff {
  static constexpr size_t kMaxRuns = 1 << 17;
  enum class State { kSame, kChanged, kOnlyHere, kOnlyThere };
  struct Area {
    Vaddr start, end;
    State state;  // kChanged: pages differ, or what kind of area it is
    std::string name;
    uint64_t changed_pages = 0, unknown_pages = 0;  // unknown: lost in one of them, or in both
  };
  // Consecutive pages whose contents differ, or that only one of them has.
  struct Run {
    Vaddr start;
    uint64_t pages;
  };

  uint32_t pid;
  State state;
  std::vector<Area> areas;  // that are not the same, by address
  std::vector<Run> runs;    // by address, at most kMaxRuns
  uint64_t compared_pages = 0, changed_pages = 0, unknown_pages = 0;
};

// Compares the memory of one process in two checkpoints, page by page; pages that both take from the same place of the same file are not read.
// `here` is the newer one. Errors: ENOENT if neither has the process.
Result<ProcessDiff> diff_process(Snapshot& here, Snapshot& there, uint32_t pid);

// All pids of both, sorted.
std::vector<uint32_t> all_pids(const Snapshot& here, const Snapshot& there);

// The texts of diff/: one line, its areas and runs, and the same as JSON.
std::string diff_line(const ProcessDiff& diff);
std::string diff_text(const ProcessDiff& diff);
std::string diff_json(const ProcessDiff& diff);

}  // namespace faultline::browse
