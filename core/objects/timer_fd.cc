// timerfd_create(2): the clock, the time that is left, the interval, and how often it expired unread.
// Collected from fdinfo. An absolute timer is given back as absolute, at the time left counted from now.
#include <sys/ioctl.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <cinttypes>
#include <cstdio>

#include "core/objects/file_kind.h"
#include "core/sys/proc.h"

namespace faultline::objects {

namespace {

#ifndef TFD_IOC_SET_TICKS
#define TFD_IOC_SET_TICKS _IOW('T', 0, uint64_t)
#endif

constexpr uint64_t kSecond = 1'000'000'000;

bool parse_time(const std::optional<std::string>& text, uint64_t& seconds, uint64_t& nanoseconds) {
  return text && std::sscanf(text->c_str(), "(%" SCNu64 ", %" SCNu64 ")", &seconds, &nanoseconds) == 2;
}

class TimerFd final : public FileKind {
 public:
  image::FdTypes type() const override { return image::FdTypes::TIMERFD; }

  bool recognises(const FdView& fd) const override { return fd.link == "anon_inode:[timerfd]"; }

  Result<void> collect(const FdView& fd, Collected&, image::FileEntry& entry) const override {
    image::TimerfdEntry timer;
    timer.id = entry.id;
    timer.flags = fd.flags;
    timer.fown = TRY(owner_of(fd));
    // A periodic timer that expired stands still until somebody asks; then the kernel counts what it missed. So we ask, and look again.
    itimerspec now;
    if (::timerfd_gettime(fd.copy.get(), &now) < 0) return sys_error("{}: the time left cannot be asked", fd.name());
    FdView asked = {.pid = fd.pid, .tid = fd.tid, .number = fd.number, .link = fd.link};
    asked.fdinfo = TRY(sys::read_proc(fmt::format("/proc/{}/fdinfo/{}", fd.tid, fd.number)));
    const auto clock = asked.line("clockid"), ticks = asked.line("ticks"), how = asked.line("settime flags");
    if (!clock || !ticks || !how || std::sscanf(clock->c_str(), "%" SCNu32, &timer.clockid) != 1 ||
        std::sscanf(ticks->c_str(), "%" SCNu64, &timer.ticks) != 1 || std::sscanf(how->c_str(), "%" SCNo32, &timer.settime_flags) != 1 ||
        !parse_time(asked.line("it_value"), timer.vsec, timer.vnsec) || !parse_time(asked.line("it_interval"), timer.isec, timer.insec))
      return fd.refuse("fdinfo does not tell the state of the timer");
    entry.tfd = timer;
    return {};
  }

  Result<void> check(const image::FileEntry& entry, const Rebuild&) const override {
    if (!entry.tfd || entry.tfd->vnsec >= kSecond || entry.tfd->insec >= kSecond) return error(EBADMSG, "files.img has no valid part for this timerfd");
    return {};
  }

  Result<UniqueFd> recreate(const image::FileEntry& entry, Rebuild&) const override {
    const image::TimerfdEntry& timer = *entry.tfd;
    const auto clock = static_cast<clockid_t>(timer.clockid);
    UniqueFd fd(::timerfd_create(clock, TFD_CLOEXEC));
    if (!fd) return sys_error("timerfd of clock {} cannot be made", timer.clockid);
    itimerspec spec = {};
    spec.it_interval = {static_cast<time_t>(timer.isec), static_cast<long>(timer.insec)};
    spec.it_value = {static_cast<time_t>(timer.vsec), static_cast<long>(timer.vnsec)};
    const bool armed = timer.vsec || timer.vnsec;
    if (armed && (timer.settime_flags & TFD_TIMER_ABSTIME)) {
      timespec now;
      if (::clock_gettime(clock == CLOCK_REALTIME_ALARM ? CLOCK_REALTIME : clock == CLOCK_BOOTTIME_ALARM ? CLOCK_BOOTTIME : clock, &now) < 0)
        return sys_error("clock {}", timer.clockid);
      spec.it_value.tv_sec += now.tv_sec + (spec.it_value.tv_nsec + now.tv_nsec) / static_cast<long>(kSecond);
      spec.it_value.tv_nsec = (spec.it_value.tv_nsec + now.tv_nsec) % static_cast<long>(kSecond);
    }
    if (::timerfd_settime(fd.get(), static_cast<int>(timer.settime_flags), &spec, nullptr) < 0) return sys_error("timerfd cannot be set");
    // After the time, because setting the time forgets the expirations.
    if (timer.ticks && ::ioctl(fd.get(), TFD_IOC_SET_TICKS, &timer.ticks) < 0)
      return sys_error("timerfd: {} expirations cannot be set (the kernel needs CONFIG_CHECKPOINT_RESTORE)", timer.ticks);
    TRY(set_status_flags(fd.get(), timer.flags, "timerfd"));
    return fd;
  }
};

const TimerFd kTimerFd;

}  // namespace

extern const FileKind& timer_fd_kind;
const FileKind& timer_fd_kind = kTimerFd;

}  // namespace faultline::objects
