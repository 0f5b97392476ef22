// timer_create(2): the timers of a process, with their ids. /proc/PID/timers tells which there are, the process itself how long each has
// still to run; that time goes on when the process does. A timer set to an absolute time of a clock that is changed meanwhile keeps the
// remaining time instead.
//
// The overrun count (timer_getoverrun(2)) tells of the signal delivered last. Each timer_settime(2) clears it; it comes back by starting
// the timer so far in the past that its first signal, which we take, has overrun as often (common_hrtimer_rearm in
// kernel/time/posix-timers.c). The expirations that a signal still pending stands for cannot be read from outside; they are lost.
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>

#include <algorithm>
#include <cinttypes>
#include <cmath>
#include <cstdio>
#include <optional>

#include "core/objects/task_kinds.h"
#include "core/sys/kernel.h"
#include "core/sys/proc.h"

namespace faultline::objects {

namespace {

// What timer_create(2) takes.
struct KernelSigevent {
  uint64_t value;
  int32_t signo, notify, tid;
  uint32_t reserved[11];
};
static_assert(sizeof(KernelSigevent) == sizeof(sigevent));

// More timers than that are not created only to be deleted again.
constexpr uint32_t kMaxIdsPassed = 4096;

// The last part of a thread's ids: the one in its own pid namespace.
Result<int32_t> own_tid(pid_t pid, int tid) {
  const std::string status = TRY(sys::read_proc(fmt::format("/proc/{}/task/{}/status", pid, tid)));
  const std::string ids = sys::status_field(status, "NSpid");
  const size_t blank = ids.find_last_of(" \t");
  return ids.empty() ? tid : std::atoi(ids.c_str() + (blank == std::string::npos ? 0 : blank + 1));
}

// "signal/pid.2634", "none/pid.2634", "thread/tid.2640"
Result<void> parse_notify(const ThreadView& leader, const char* word, image::PosixTimerEntry& timer) {
  const std::string_view text(word);
  const std::string_view way = text.substr(0, text.find('/'));
  timer.it_sigev_notify = way == "none" ? SIGEV_NONE : way == "thread" ? SIGEV_THREAD : SIGEV_SIGNAL;
  const size_t tid = text.find("/tid.");
  if (tid == std::string_view::npos) return {};
  timer.it_sigev_notify |= SIGEV_THREAD_ID;
  timer.notify_thread_id = TRY(own_tid(leader.pid, std::atoi(word + tid + 5)));
  return {};
}

// The timers of a process by their ids, without their times.
Result<std::vector<image::PosixTimerEntry>> list_timers(const ThreadView& leader) {
  const std::string path = fmt::format("/proc/{}/timers", leader.pid);
  const std::string text = TRY(sys::read_proc(path));
  std::vector<image::PosixTimerEntry> timers;
  for (const char* at = text.c_str(); *at;) {
    image::PosixTimerEntry timer;
    char notify[64] = {};
    int clock = 0, length = 0;
    if (std::sscanf(at, "ID: %" SCNu32 " signal: %" SCNu32 "/%" SCNx64 " notify: %63s ClockID: %d %n", &timer.it_id, &timer.si_signo, &timer.sival_ptr, notify,
                    &clock, &length) != 5)
      return error(EBADMSG, "{} cannot be understood: {}", path, at);
    timer.clock_id = static_cast<uint32_t>(clock);
    TRY(parse_notify(leader, notify, timer));
    timers.push_back(std::move(timer));
    at += length;
  }
  // Newer kernels list the newest first, older ones the oldest; an image has them in the order of their ids.
  std::ranges::sort(timers, {}, &image::PosixTimerEntry::it_id);
  return timers;
}

class PosixTimers : public TaskState {
 public:
  void ask(const ThreadView& leader, agent::Program& program) override {
    timers_ = list_timers(leader);
    if (!timers_) return;  // told by collect()
    for (const image::PosixTimerEntry& timer : *timers_) {
      Question q{.value = program.space(sizeof(itimerspec)), .time = {}, .overrun = {}};
      q.time = program.syscall("timer_gettime", SYS_timer_gettime, {timer.it_id, q.value});
      q.overrun = program.syscall("timer_getoverrun", SYS_timer_getoverrun, {timer.it_id});
      questions_.push_back(q);
    }
  }

  Result<void> collect(const ThreadView& leader, const agent::Program& program, image::Task& task) override {
    auto timers = TRY(std::move(timers_));
    for (size_t i = 0; i < timers.size(); ++i) {
      TRY(check_clock(leader, task, timers[i]));
      TRY(answer(leader, program, questions_[i].time, "POSIX timers"));
      const auto v = program.get<itimerspec>(questions_[i].value);
      timers[i].isec = static_cast<uint64_t>(v.it_interval.tv_sec), timers[i].insec = static_cast<uint64_t>(v.it_interval.tv_nsec);
      timers[i].vsec = static_cast<uint64_t>(v.it_value.tv_sec), timers[i].vnsec = static_cast<uint64_t>(v.it_value.tv_nsec);
      timers[i].overrun = static_cast<uint32_t>(TRY(answer(leader, program, questions_[i].overrun, "POSIX timers")));
    }
    if (!task.core.tc->timers) task.core.tc->timers.emplace();
    task.core.tc->timers->posix = std::move(timers);
    return {};
  }

  void rebuild(const image::Task& task, agent::Program& program) const override {
    if (!task.core.tc->timers || task.core.tc->timers->posix.empty()) return;
    std::vector<image::PosixTimerEntry> timers = task.core.tc->timers->posix;
    std::ranges::sort(timers, {}, &image::PosixTimerEntry::it_id);
    create(timers, program);
    // Started only when all exist: creating takes time.
    for (const image::PosixTimerEntry& t : timers) {
      if (!t.vsec && !t.vnsec && !t.isec && !t.insec) continue;
      if (const auto first = start_for_overrun(task, t)) {
        start_in_the_past(t, *first, program);
        continue;
      }
      const itimerspec v = {{static_cast<time_t>(t.isec), static_cast<long>(t.insec)}, {static_cast<time_t>(t.vsec), static_cast<long>(t.vnsec)}};
      program.syscall(fmt::format("start timer {}", t.it_id), SYS_timer_settime, {t.it_id, 0, program.value(v), 0});
    }
  }

 private:
  struct Question {
    agent::Program::Data value;
    agent::Program::Step time, overrun;
  };

  // The CPU clock of "the calling thread" is that of the thread that created the timer, which the kernel does not tell.
  static Result<void> check_clock(const ThreadView& leader, const image::Task& task, const image::PosixTimerEntry& timer) {
    if (timer.clock_id == CLOCK_THREAD_CPUTIME_ID && task.tree.threads.size() > 1)
      return error(ENOTSUP, "pid {} has several threads and a timer (id {}) on the CPU time of one of them; which one cannot be told", leader.pid, timer.it_id);
    return {};
  }

  static KernelSigevent event(const image::PosixTimerEntry& t) {
    return {.value = t.sival_ptr, .signo = static_cast<int32_t>(t.si_signo), .notify = static_cast<int32_t>(t.it_sigev_notify),
            .tid = t.notify_thread_id.value_or(0), .reserved = {}};
  }

  // Ids are given out in ascending order, without reuse. Since Linux 6.15 one can be asked for; before, those in between are passed over.
  static void create(const std::vector<image::PosixTimerEntry>& timers, agent::Program& program) {
    const bool by_id = ::prctl(PR_TIMER_CREATE_RESTORE_IDS, PR_TIMER_CREATE_RESTORE_IDS_GET, 0, 0, 0) >= 0;
    const bool far = timers.back().it_id >= kMaxIdsPassed;
    if (by_id || far)
      program.syscall(fmt::format("create timers with the ids that they had (up to {}; this takes Linux 6.15)", timers.back().it_id), SYS_prctl,
                      {PR_TIMER_CREATE_RESTORE_IDS, PR_TIMER_CREATE_RESTORE_IDS_ON, 0, 0, 0});
    uint32_t next = 0;
    for (const image::PosixTimerEntry& t : timers) {
      if (!by_id && !far)
        for (; next < t.it_id; ++next) pass_over(next, program);
      next = t.it_id + 1;
      const auto id = program.value<uint64_t>(t.it_id);
      program.syscall(fmt::format("create timer {}", t.it_id), SYS_timer_create, {static_cast<int>(t.clock_id), program.value(event(t)), id});
      // An operation cannot compare; a timer of another id is found out by asking for the one that should be there.
      if (!by_id) program.syscall(fmt::format("find timer {}", t.it_id), SYS_timer_gettime, {t.it_id, program.space(sizeof(itimerspec))});
    }
    if (by_id)
      program.syscall("end creating timers by id", SYS_prctl, {PR_TIMER_CREATE_RESTORE_IDS, PR_TIMER_CREATE_RESTORE_IDS_OFF, 0, 0, 0});
  }

  // The absolute time of the first expiration, so that the signal of today has overrun as often as the last one had. None where there was
  // no overrun, or where it cannot be had: only signals that the leader itself can take, and clocks whose time we know.
  static std::optional<itimerspec> start_for_overrun(const image::Task& task, const image::PosixTimerEntry& t) {
    const bool known = t.clock_id == CLOCK_MONOTONIC || t.clock_id == CLOCK_BOOTTIME || t.clock_id == CLOCK_REALTIME || t.clock_id == CLOCK_TAI;
    const bool ours = t.it_sigev_notify == SIGEV_SIGNAL || (t.it_sigev_notify == (SIGEV_SIGNAL | SIGEV_THREAD_ID) && t.notify_thread_id == task.pid());
    if (t.overrun == 0 || t.overrun > INT32_MAX || !(t.isec || t.insec) || !known || !ours || t.si_signo < 1 || t.si_signo > 64) return {};
    timespec now;
    if (::clock_gettime(static_cast<clockid_t>(t.clock_id), &now) < 0) return {};
    const double interval = static_cast<double>(t.isec) + 1e-9 * static_cast<double>(t.insec);
    const double left = static_cast<double>(t.vsec) + 1e-9 * static_cast<double>(t.vnsec);
    // The count is of the expirations after the first. It must not be before the beginning of the clock.
    const double first = static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec) + left - interval * (t.overrun + 1.0);
    if (first <= 0) return {};
    const double whole = std::floor(first);
    return itimerspec{{static_cast<time_t>(t.isec), static_cast<long>(t.insec)}, {static_cast<time_t>(whole), static_cast<long>((first - whole) * 1e9)}};
  }

  static void start_in_the_past(const image::PosixTimerEntry& t, const itimerspec& first, agent::Program& program) {
    program.syscall(fmt::format("start timer {} in the past", t.it_id), SYS_timer_settime, {t.it_id, TIMER_ABSTIME, program.value(first), 0});
    const timespec patience = {1, 0};
    program.syscall(fmt::format("take its signal, which has overrun {} times", t.overrun), SYS_rt_sigtimedwait,
                    {program.value(uint64_t{1} << (t.si_signo - 1)), 0, program.value(patience), sizeof(uint64_t)});
  }

  static void pass_over(uint32_t id, agent::Program& program) {
    const KernelSigevent none = {.value = 0, .signo = 0, .notify = SIGEV_NONE, .tid = 0, .reserved = {}};
    program.syscall("create a timer to pass over its id", SYS_timer_create, {CLOCK_MONOTONIC, program.value(none), program.space(sizeof(uint64_t))});
    program.syscall("delete it again", SYS_timer_delete, {id});
  }

  Result<std::vector<image::PosixTimerEntry>> timers_{};
  std::vector<Question> questions_;
};

}  // namespace

std::unique_ptr<TaskState> make_posix_timers() { return std::make_unique<PosixTimers>(); }

}  // namespace faultline::objects
