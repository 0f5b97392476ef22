#include "browse/fuse/reader_cpu.h"

#include <sched.h>

#include <optional>

#include "core/sys/proc.h"

namespace faultline::browse {

namespace {

// After so many reads of one thread in a row it is followed; after so many more it is looked for again.
constexpr uint32_t kFirstLook = 16, kLookAgain = 512;

// Where this program may run at all, as it was when the first thread began.
const cpu_set_t& all_cpus() {
  static const cpu_set_t all = [] {
    cpu_set_t set;
    if (::sched_getaffinity(0, sizeof set, &set) != 0) CPU_ZERO(&set);
    return set;
  }();
  return all;
}

}  // namespace

void ReaderCpu::answering(pid_t reader) {
  if (reader <= 0 || reader != reader_) {
    let_go();
    reader_ = reader;
    in_a_row_ = 0;
    return;
  }
  ++in_a_row_;
  if (in_a_row_ == kFirstLook || in_a_row_ % kLookAgain == 0) follow(reader);
}

void ReaderCpu::follow(pid_t reader) {
  const auto stat = sys::read_stat(reader);
  if (!stat || stat->cpu == cpu_ || stat->cpu < 0 || stat->cpu >= CPU_SETSIZE || !CPU_ISSET(stat->cpu, &all_cpus())) return;
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(stat->cpu, &set);
  if (::sched_setaffinity(0, sizeof set, &set) == 0) cpu_ = stat->cpu;
}

void ReaderCpu::let_go() {
  if (cpu_ < 0) return;
  anywhere();
  cpu_ = -1;
}

void ReaderCpu::anywhere() { (void)::sched_setaffinity(0, sizeof(cpu_set_t), &all_cpus()); }

}  // namespace faultline::browse
