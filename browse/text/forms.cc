#include "browse/text/forms.h"

#include <csignal>
#include <cstring>
#include <ctime>

namespace faultline::browse {

std::string signal_name(uint64_t signal) {
  // What the C library keeps for itself (SIGRTMIN of the kernel is 32) is counted from the kernel's number.
  constexpr uint64_t kFirstReal = 32;
  if (signal >= 1 && signal < kFirstReal)
    if (const char* name = ::sigabbrev_np(static_cast<int>(signal))) return std::string("SIG") + name;
  if (signal >= static_cast<uint64_t>(SIGRTMIN) && signal <= static_cast<uint64_t>(SIGRTMAX)) {
    const uint64_t n = signal - static_cast<uint64_t>(SIGRTMIN);
    return n == 0 ? "SIGRTMIN" : fmt::format("SIGRTMIN+{}", n);
  }
  return std::to_string(signal);
}

std::string signal_set(uint64_t set) {
  std::string out;
  for (uint64_t signal = 1; signal <= 64; ++signal)
    if (set >> (signal - 1) & 1) out += (out.empty() ? "" : " ") + signal_name(signal);
  return out.empty() ? "none" : out;
}

std::string clock_name(uint32_t clock) {
  constexpr const char* kNames[] = {"CLOCK_REALTIME",        "CLOCK_MONOTONIC", "CLOCK_PROCESS_CPUTIME_ID", "CLOCK_THREAD_CPUTIME_ID", "CLOCK_MONOTONIC_RAW",
                                    "CLOCK_REALTIME_COARSE", "CLOCK_MONOTONIC_COARSE", "CLOCK_BOOTTIME",    "CLOCK_REALTIME_ALARM",    "CLOCK_BOOTTIME_ALARM"};
  if (clock < std::size(kNames)) return kNames[clock];
  return clock == CLOCK_TAI ? "CLOCK_TAI" : fmt::format("clock {}", static_cast<int32_t>(clock));
}

uint64_t from_words(const std::vector<uint32_t>& words) {
  return (words.empty() ? 0 : uint64_t{words[0]}) | (words.size() < 2 ? 0 : uint64_t{words[1]} << 32);
}

uint64_t pending_set(const std::optional<image::SignalQueueEntry>& queue) {
  uint64_t set = 0;
  if (queue)
    for (const image::SiginfoEntry& entry : queue->signals) {
      int signal = 0;
      if (entry.siginfo.size() >= sizeof signal) std::memcpy(&signal, entry.siginfo.data(), sizeof signal);
      if (signal >= 1 && signal <= 64) set |= uint64_t{1} << (signal - 1);
    }
  return set;
}

std::string ThreadState::comm() const {
  const image::ThreadCoreEntry* own = thread();
  return own && own->comm ? *own->comm : task().comm;
}

uint64_t ThreadState::blocked() const {
  const image::ThreadCoreEntry* own = thread();
  if (is_leader()) return task().blk_sigset;
  return own ? own->blk_sigset.value_or(0) : 0;
}

Result<ThreadState> thread_state(Snapshot& snapshot, const Snapshot::Process& process, uint32_t tid) {
  ThreadState state;
  state.leader = TRY(snapshot.core(process.pid));
  if (!state.leader->tc) return error(EBADMSG, "{}/core-{}.img lacks the part of the process (tc)", snapshot.name(), process.pid);
  state.core = tid == process.pid ? state.leader : TRY(snapshot.core(tid));
  return state;
}

}  // namespace faultline::browse
