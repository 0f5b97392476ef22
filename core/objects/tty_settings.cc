#include "core/objects/tty_settings.h"

#include <asm/termbits.h>
#include <sys/ioctl.h>

#include <algorithm>

namespace faultline::objects {

namespace {

template <typename Settings>
image::TermiosEntry entry_of(const Settings& t) {
  image::TermiosEntry entry;
  entry.c_iflag = t.c_iflag;
  entry.c_oflag = t.c_oflag;
  entry.c_cflag = t.c_cflag;
  entry.c_lflag = t.c_lflag;
  entry.c_line = t.c_line;
  if constexpr (requires { t.c_ispeed; }) {
    entry.c_ispeed = t.c_ispeed;
    entry.c_ospeed = t.c_ospeed;
  }
  entry.c_cc.assign(std::begin(t.c_cc), std::end(t.c_cc));
  return entry;
}

template <typename Settings>
Settings settings_of(const image::TermiosEntry& entry) {
  Settings t = {};
  t.c_iflag = entry.c_iflag;
  t.c_oflag = entry.c_oflag;
  t.c_cflag = entry.c_cflag;
  t.c_lflag = entry.c_lflag;
  t.c_line = static_cast<cc_t>(entry.c_line);
  if constexpr (requires { t.c_ispeed; }) {
    t.c_ispeed = entry.c_ispeed;
    t.c_ospeed = entry.c_ospeed;
  }
  for (size_t i = 0; i < std::min(entry.c_cc.size(), sizeof t.c_cc); ++i) t.c_cc[i] = static_cast<cc_t>(entry.c_cc[i]);
  return t;
}

}  // namespace

Result<void> collect_settings(const FdView& fd, bool master, image::TtyInfoEntry& info) {
  const int s = fd.copy.get();
  termios2 line = {};
  termios locked = {};
  winsize size = {};
  if (::ioctl(s, TCGETS2, &line) < 0 || ::ioctl(s, TIOCGLCKTRMIOS, &locked) < 0 || ::ioctl(s, TIOCGWINSZ, &size) < 0)
    return sys_error("{}: its settings cannot be asked", fd.name());
  info.termios = entry_of(line);
  info.termios_locked = entry_of(locked);
  info.winsize = image::WinsizeEntry{.ws_row = size.ws_row, .ws_col = size.ws_col, .ws_xpixel = size.ws_xpixel, .ws_ypixel = size.ws_ypixel};
  int on = 0;
  if (::ioctl(s, TIOCGEXCL, &on) == 0) info.exclusive = on != 0;
  if (!master) return {};
  if (::ioctl(s, TIOCGPTLCK, &on) == 0) info.locked = on != 0;
  if (::ioctl(s, TIOCGPKT, &on) == 0) info.packet_mode = on != 0;
  return {};
}

Result<void> apply_settings(int slave, const image::TtyInfoEntry& info, const std::string& path) {
  if (info.termios) {
    const termios2 line = settings_of<termios2>(*info.termios);
    if (::ioctl(slave, TCSETS2, &line) < 0) return sys_error("{}: the line settings cannot be set", path);
  }
  if (info.termios_locked) {
    const termios locked = settings_of<termios>(*info.termios_locked);
    const bool any = locked.c_iflag || locked.c_oflag || locked.c_cflag || locked.c_lflag;
    if (any && ::ioctl(slave, TIOCSLCKTRMIOS, &locked) < 0) return sys_error("{}: the locks of its settings cannot be set", path);
  }
  if (info.winsize) {
    const winsize size = {.ws_row = static_cast<unsigned short>(info.winsize->ws_row), .ws_col = static_cast<unsigned short>(info.winsize->ws_col),
                          .ws_xpixel = static_cast<unsigned short>(info.winsize->ws_xpixel), .ws_ypixel = static_cast<unsigned short>(info.winsize->ws_ypixel)};
    if (::ioctl(slave, TIOCSWINSZ, &size) < 0) return sys_error("{}: the window size cannot be set", path);
  }
  if (info.exclusive && ::ioctl(slave, TIOCEXCL) < 0) return sys_error("{} cannot be made exclusive", path);
  return {};
}

Result<void> apply_modes(int master, const image::TtyInfoEntry& info, const std::string& path) {
  const int on = 1;
  if (info.packet_mode && ::ioctl(master, TIOCPKT, &on) < 0) return sys_error("{}: packet mode cannot be set", path);
  if (info.exclusive && ::ioctl(master, TIOCEXCL) < 0) return sys_error("the master of {} cannot be made exclusive", path);
  if (info.locked && ::ioctl(master, TIOCSPTLCK, &on) < 0) return sys_error("{} cannot be locked", path);
  return {};
}

}  // namespace faultline::objects
