#pragma once

#include <string>
#include <vector>

#include "core/base/counters.h"
#include "core/base/mapping.h"
#include "core/base/result.h"

namespace faultline {

// Where pagers and page servers that live on this machine leave their counters, each in a file PID.counters, which others may map and read.
inline constexpr const char* kLiveDir = "/run/faultline";

enum class LiveKind : uint32_t { kPager = 1, kServer = 2 };
const char* name_of(LiveKind kind);

// What such a file holds.
struct LivePage {
  static constexpr uint64_t kMagic = 0x31766c6c74756166;  // "fautllv1"
  static constexpr uint32_t kVersion = 1;                 // of this struct: a reader of another version must not look further

  uint64_t magic;
  uint32_t version;
  LiveKind kind;
  Counter pid;        // who counts now; a successor puts its own
  uint64_t started;   // seconds since 1970
  char name[256];     // the checkpoint, or the directory that is served; ends with a 0
  char metrics[128];  // where --metrics listens; empty: nowhere
  PagerCounters pager;
  ServerCounters server;
};

// The counters of this process and those that it forks, in shared memory. They live as long as a process has them mapped, and so does the
// lock on the file by which others see that it is alive: killed or not, in whichever pid namespace, nothing has to be cleaned up in time.
class Live {
 public:
  // Publishes them below `dir`, and removes what dead ones have left there. If that cannot be done (no /run, no right), they are counters
  // all the same, only nobody else sees them: a restore must not fail for that. `metrics`: the address to be told, or empty.
  // Errors: ENOMEM.
  static Result<Live> publish(LiveKind kind, const std::string& name, const std::string& metrics, const char* dir = kLiveDir);

  LivePage& page() const { return *reinterpret_cast<LivePage*>(mapping_.data()); }
  PagerCounters& pager() const { return page().pager; }
  ServerCounters& server() const { return page().server; }
  bool published() const { return !path_.empty(); }
  // Removes the file, at an orderly end. To be called by the last process that counts.
  void retire();

 private:
  Mapping mapping_;
  std::string path_;
};

// Somebody else's counters. Readable even after they have ended.
class LiveView {
 public:
  LiveView(Mapping mapping, std::string path) : mapping_(std::move(mapping)), path_(std::move(path)) {}
  const LivePage& page() const { return *reinterpret_cast<const LivePage*>(mapping_.data()); }
  const std::string& path() const { return path_; }
  std::string name() const;
  std::string metrics() const;

 private:
  Mapping mapping_;
  std::string path_;
};

// All that live now, by start time. Files of the dead are removed where that is allowed; what is no such file is left alone.
// Errors: those of reading the directory; if there is none, nobody lives.
Result<std::vector<LiveView>> everybody_alive(const char* dir = kLiveDir);

}  // namespace faultline
