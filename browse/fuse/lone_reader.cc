#include "browse/fuse/lone_reader.h"

#include <sched.h>

#include "core/sys/proc.h"

namespace faultline::browse {

namespace {

// After so many reads of one thread in a row; after so many more it is looked where it runs now.
constexpr uint32_t kFirstLook = 16, kLookAgain = 512;
// So long after a read a processor is kept busy.
constexpr auto kMoment = std::chrono::milliseconds(1);

// Where this program may run at all, as it was when the first answering thread began.
const cpu_set_t& allowed() {
  static const cpu_set_t all = [] {
    cpu_set_t set;
    if (::sched_getaffinity(0, sizeof set, &set) != 0) CPU_ZERO(&set);
    return set;
  }();
  return all;
}

bool bind(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(static_cast<unsigned>(cpu), &set);
  return ::sched_setaffinity(0, sizeof set, &set) == 0;
}

// The next one behind `cpu`, in a circle; -1 if there is no other.
int next_of(int cpu) {
  for (int i = 1; i < CPU_SETSIZE; ++i)
    if (const int other = (cpu + i) % CPU_SETSIZE; CPU_ISSET(static_cast<unsigned>(other), &allowed())) return other;
  return -1;
}

}  // namespace

LoneReader::~LoneReader() {
  ending_ = true;
  wake_keeper();
}

void LoneReader::wake_keeper() {
  ++turns_;
  turns_.notify_one();
}

void LoneReader::answering(pid_t reader) {
  if (reader <= 0 || reader != reader_) {
    let_go();
    reader_ = reader;
    in_a_row_ = 0;
    return;
  }
  if (++in_a_row_ < kFirstLook) return;
  const bool look = in_a_row_ == kFirstLook || in_a_row_ % kLookAgain == 0;
  if (look) follow();
  const auto now = Clock::now().time_since_epoch();
  const bool asleep = until_.exchange((now + kMoment).count()) < now.count();
  // One that has gone to sleep just now, unseen, is woken at the next look.
  if (asleep || look) wake_keeper();
}

void LoneReader::follow() {
  const auto stat = sys::read_stat(reader_);
  if (!stat || stat->cpu == cpu_) return;
  if (stat->cpu < 0 || stat->cpu >= CPU_SETSIZE || !CPU_ISSET(static_cast<unsigned>(stat->cpu), &allowed()) || !bind(stat->cpu)) return;
  cpu_ = stat->cpu;
  busy_cpu_ = next_of(cpu_);
  if (busy_cpu_ >= 0 && !keeper_.joinable()) keeper_ = std::jthread([this] { keep_busy(); });
}

void LoneReader::let_go() {
  if (cpu_ < 0) return;
  unbind();
  cpu_ = -1;
  until_ = 0;
}

void LoneReader::unbind() { (void)::sched_setaffinity(0, sizeof(cpu_set_t), &allowed()); }

void LoneReader::keep_busy() {
  const sched_param none = {};
  if (::sched_setscheduler(0, SCHED_IDLE, &none) != 0) return;
  for (int bound = -1; !ending_;) {
    const uint32_t turn = turns_;
    while (!ending_ && Clock::now().time_since_epoch().count() < until_) {
      const int cpu = busy_cpu_;
      if (cpu != bound && !bind(cpu)) break;
      bound = cpu;
    }
    if (!ending_) turns_.wait(turn);
  }
}

}  // namespace faultline::browse
