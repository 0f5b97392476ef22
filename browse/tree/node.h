#pragma once

#include <cstdint>
#include <optional>

// The names of a mounted checkpoint's files, as numbers.
namespace faultline::browse {

// What a file or folder of the mount is. The number is part of the inode number, and means nothing elsewhere.
enum class NodeKind : uint8_t {
  kRoot,
  kSummary,  // index: of the table of summaries
  kTasks, kTree, kCores, kImages, kRaw,
  kTask,
  kTaskText,  // index: of the table of texts
  kTaskLink,  // index: of the table of links
  kMem, kAreas, kArea,
  kCore, kCoreLink,  // in cores/, and what leads there from tasks/<pid>/
  kFds, kFd, kFdInfos, kFdInfo,
  kThreads, kThread,
  kThreadText,  // index: number of the thread << 8 | of the table of texts
  kTreeTask, kTreeLink,
  kImageJson, kRawFile,
  kObjects,       // a folder of objects that tasks share; `task`: which of object_folders()
  kObject,        // `task`: which folder
  kSharedMemory,  // index: the number of the object
  // With a second checkpoint. `task`: number in all_pids() of both.
  kDiff, kDiffSummary,
  kDiffTask, kDiffText,  // index: of the table of texts
  kDiffHere, kDiffThere, kDiffHereRun, kDiffThereRun,  // index: of ProcessDiff::runs
  kEnd,
};

// One file or folder. An inode number is its address: nothing is kept about the files that were looked at, however many there are.
struct Node {
  NodeKind kind = NodeKind::kRoot;
  uint32_t task = 0;   // number of the process in Snapshot::processes(); below 2^24
  uint32_t index = 0;  // of the file within what `kind` says

  uint64_t ino() const { return kind == NodeKind::kRoot ? 1 : uint64_t{static_cast<uint8_t>(kind)} << 56 | uint64_t{task} << 32 | index; }
  // nullopt: there is no such number.
  static std::optional<Node> of(uint64_t ino) {
    if (ino == 1) return Node();
    const uint64_t kind = ino >> 56;
    if (kind == 0 || kind >= static_cast<uint64_t>(NodeKind::kEnd)) return std::nullopt;
    return Node{static_cast<NodeKind>(kind), static_cast<uint32_t>(ino >> 32) & kMaxTask, static_cast<uint32_t>(ino)};
  }

  static constexpr uint32_t kMaxTask = (1 << 24) - 1;
  bool operator==(const Node&) const = default;
};

}  // namespace faultline::browse
