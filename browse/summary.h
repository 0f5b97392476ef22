#pragma once

#include <array>
#include <functional>
#include <string>
#include <vector>

#include "browse/snapshot.h"

namespace faultline::browse {

// What memory is made of. Every byte of every area is of exactly one of these.
enum class Part {
  kStored,    // private pages in this checkpoint
  kParents,   // private pages in the checkpoints below it
  kShared,    // pages of shared memory
  kFile,      // unchanged pages of mapped files
  kZero,      // never touched, or zeros: not stored
  kReserved,  // the same, where the process itself may not look (PROT_NONE)
  kAbsent,    // unchanged pages of mapped files that are not on this machine (or are others there)
  kKernel,    // what the kernel makes: vvar, vsyscall
  kRemote,    // left with the host of the dump, or with a page server
  kLost,      // should be in the images, and is not
};
inline constexpr size_t kParts = 10;
using Bytes = std::array<uint64_t, kParts>;

// Its key in JSON, and what it is called in a text.
std::string_view key_of(Part part);
std::string_view text_of(Part part);
constexpr uint64_t of(const Bytes& bytes, Part part) { return bytes[static_cast<size_t>(part)]; }

struct AreaSummary {
  uint32_t pid = 0;
  Vaddr start = 0, end = 0;
  std::string perms;  // "rw-p"
  std::string name;   // as maps shows it, may be empty
  Bytes bytes = {};
  // What ranks areas: reservations cost nothing.
  uint64_t weight() const { return end - start - of(bytes, Part::kReserved); }
};

struct ProcessSummary {
  uint32_t pid = 0, ppid = 0;
  unsigned depth = 0;  // in the tree
  std::string comm;    // empty: unknown
  char state = '?';    // as in /proc/PID/stat: S, T, Z; '?': unknown
  size_t threads = 0, areas = 0, fds = 0;
  uint64_t size = 0;   // bytes of all areas
  Bytes bytes = {};
  size_t touched = 0;  // pages of a recorded working set; 0: none
  std::string damage;  // what could not be read; empty: nothing
};

struct Summary {
  std::string name;
  timespec time = {};         // of the dump
  bool complete = false;      // there is an inventory
  std::string tool, host, kernel, machine;  // empty: the images do not tell
  std::vector<std::string> options;
  size_t files = 0;           // of the checkpoint
  uint64_t files_size = 0;    // bytes
  std::vector<ProcessSummary> processes;  // parents before their children
  size_t threads = 0, areas = 0, zombies = 0;
  uint64_t size = 0;
  Bytes bytes = {};           // sums over all processes: what two share counts twice
  size_t shared_objects = 0;
  uint64_t shared_size = 0;   // bytes stored for these, once
  std::vector<AreaSummary> largest;  // at most kLargest, the largest first
  std::vector<std::string> damage;   // of the checkpoint as a whole

  bool damaged() const;
};
inline constexpr size_t kLargest = 10;

// `progress` is told how much there is to read, and of each part when it is done; in bytes of images.
struct Progress {
  std::function<void(uint64_t bytes)> total, done;
};

// Reads all processes, one after the other; only the rows of the table are kept. Cannot fail: what cannot be read is told in the summary.
Summary summarize(Snapshot& snapshot, const Progress& progress = {});

// For people, in lines of at most `width` columns where names allow it; `unicode`: bars and branches may be drawn with more than ASCII.
std::string summary_text(const Summary& summary, unsigned width = 100, bool unicode = true);
// One object; the keys are documented in the README.
std::string summary_json(const Summary& summary);

}  // namespace faultline::browse
