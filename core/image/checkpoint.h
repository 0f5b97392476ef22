#pragma once

#include <map>
#include <string>
#include <vector>

#include "core/image/image_dir.h"
#include "core/image/messages.h"

namespace faultline::image {

// Bits of vma_entry.status (formats/image-files.md, section 8.2).
inline constexpr uint32_t kVmaRegular = 1 << 0;
inline constexpr uint32_t kVmaVsyscall = 1 << 2;
inline constexpr uint32_t kVmaVdso = 1 << 3;
inline constexpr uint32_t kVmaHeap = 1 << 5;
inline constexpr uint32_t kVmaFilePrivate = 1 << 6;
inline constexpr uint32_t kVmaFileShared = 1 << 7;
inline constexpr uint32_t kVmaAnonShared = 1 << 8;
inline constexpr uint32_t kVmaAnonPrivate = 1 << 9;
inline constexpr uint32_t kVmaSysvIpc = 1 << 10;
inline constexpr uint32_t kVmaSocket = 1 << 11;
inline constexpr uint32_t kVmaVvar = 1 << 12;
inline constexpr uint32_t kVmaAioRing = 1 << 13;
inline constexpr uint32_t kVmaMemfd = 1 << 14;
inline constexpr uint32_t kVmaShadowStack = 1 << 15;
inline constexpr uint32_t kVmaGuard = 1 << 16;

// Bits of pagemap_entry.flags.
inline constexpr uint32_t kPageParent = 1, kPageLazy = 2, kPagePresent = 4;
// The pages are not in the images but with the host of the dump, or with a page server. `flags` is set (load_pagemap() sees to it).
inline bool is_remote(const PagemapEntry& entry) { return (*entry.flags & (kPagePresent | kPageLazy)) == kPageLazy; }

// task_core_entry.task_state
enum TaskStateNumber : uint32_t { kTaskAlive = 1, kTaskDead = 2, kTaskStopped = 3 };

// Which pages of an address space or of a shared object are stored, and where.
struct Pagemap {
  uint32_t pages_id = 0;  // of pages-<id>.img; 0: nothing is stored
  // Sorted, without overlaps, `nr_pages` and `flags` always set (old forms are translated).
  std::vector<PagemapEntry> entries;
};

// One process: its own images.
struct Task {
  PstreeEntry tree;
  CoreEntry core;                         // of the leader
  std::vector<CoreEntry> threads;         // of the others, in the order of tree.threads
  std::optional<TaskKobjIdsEntry> ids;    // absent for zombies, like everything below
  std::optional<MmEntry> mm;
  std::optional<FsEntry> fs;
  std::vector<FdinfoEntry> fds;           // sorted by number
  Pagemap pagemap;

  pid_t pid() const { return static_cast<pid_t>(tree.pid); }
  bool dead() const { return core.tc->task_state == kTaskDead; }
};

// Bytes in a pipe or FIFO, or a packet in a socket's queue.
struct PipeData { PipeDataEntry entry; std::string bytes; };
struct SocketPacket { SkPacketEntry entry; std::string bytes; };

// A whole checkpoint as plain structs; everything but ghost files and page contents. Immutable after load.
struct Checkpoint {
  InventoryEntry inventory;
  std::vector<Task> tasks;                // parents before their children, the root first
  std::map<uint32_t, FileEntry> files;    // by id; where two share one (old images), the one that is not a REG
  std::vector<RemapFilePathEntry> remaps;
  std::vector<MemfdInodeEntry> memfds;
  std::vector<PipeData> pipes, fifos;
  std::vector<SocketPacket> packets;
  std::vector<TtyInfoEntry> ttys;
  std::vector<TtyDataEntry> tty_data;
  std::map<uint64_t, Pagemap> shared;     // by shmid
  std::map<uint32_t, InterruptedCallEntry> interrupted;  // by tid

  // Reads and checks all of it: required parts, references between images, order and overlap of pages, sizes of pages files.
  // Errors: EBADMSG with file and reason; ENOENT if there is no checkpoint; ENOTSUP for what this version cannot restore.
  static Result<Checkpoint> load(const ImageDir& dir);

  const FileEntry* file(uint32_t id) const;
};

// Highest address plus one of x86-64 user space with five-level page tables; no image may name pages above it.
inline constexpr uint64_t kUserSpaceEnd = uint64_t{1} << 56;

// Reads a pagemap file and checks it against its pages file. An absent one is empty.
Result<Pagemap> load_pagemap(const ImageDir& dir, const std::string& file, bool v1);

// As far as it can be read; not checked against its pages file.
struct PagemapPart {
  Pagemap map;
  std::optional<Error> damage;  // why there is no more
};
PagemapPart read_pagemap(const ImageDir& dir, const std::string& file, bool v1);

}  // namespace faultline::image
