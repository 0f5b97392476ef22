#pragma once

#include <limits>
#include <span>
#include <string>
#include <vector>

#include "browse/snapshot.h"

namespace faultline::browse {

// Which of its stored pages a lazily restored process touched first, and in which order: its recorded working set, laid over its memory.
// Pages are counted along the stored pages in the order of their addresses ("positions"): what was never stored is never waited for.
struct Heat {
  // Consecutive positions in one area; in many areas that are side by side, where there are very many.
  struct Band {
    Vaddr start = 0, end = 0;  // addresses
    std::string name;          // of the first area, as maps shows it; may be empty
    uint64_t areas = 1;
    uint64_t first = 0, pages = 0;  // positions
    uint64_t touched = 0;
    size_t rank = std::numeric_limits<size_t>::max();  // of the first touch in it: 0 was the very first; the highest value: none
  };
  struct Touch {
    uint64_t position;
    Vaddr address;
    size_t rank;  // in the recording
  };

  uint32_t pid = 0;
  std::string comm;
  uint64_t pages = 0;           // that are stored
  std::vector<Band> bands;      // at most about kMostBands
  std::vector<Touch> touches;   // in order
  size_t elsewhere = 0;         // touched pages that the checkpoint does not have: the recording is of another one
};
inline constexpr size_t kMostBands = 2000;

// The processes that have a recording, by pid.
std::vector<uint32_t> recorded_processes(const Snapshot& snapshot);
// Errors: ENOENT if nothing was recorded for the process; EBADMSG for a recording that is damaged; those of its images.
Result<Heat> heat_of(Snapshot& snapshot, uint32_t pid);

// For a terminal of `width` columns: a picture with the addresses from left to right and the order of touches from top to bottom, the density
// along the addresses, and the areas that were touched most.
std::string heat_text(const Heat& heat, unsigned width, bool unicode);
// One JSON object per process, in an array.
std::string heat_json(std::span<const Heat> heats);
// A page for a browser, which needs nothing else: the same picture, to be zoomed. `name` is that of the checkpoint.
std::string heat_html(std::span<const Heat> heats, const std::string& name);

}  // namespace faultline::browse
