// Pseudo-terminals: pairs of a master and its slaves inside the tree, and (--shell-job) the slave of a terminal outside of it.
// The number in /dev/pts must be the same again, because programs know it by name. A session gets its terminal back in the leader.
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cinttypes>
#include <cstdio>

#include "core/base/log.h"
#include "core/objects/tty_settings.h"
#include "core/sys/proc.h"

namespace faultline::objects {

namespace {

constexpr uint32_t kMaxIndex = 1000;  // the format has no numbers for more

bool is_master(const struct stat& st) { return major(st.st_rdev) == 5 && minor(st.st_rdev) == 2; }
bool is_slave(const struct stat& st) { return major(st.st_rdev) >= 136 && major(st.st_rdev) <= 143; }
bool is_other(const struct stat& st) { return major(st.st_rdev) == 4 || (major(st.st_rdev) == 5 && !is_master(st)); }
uint32_t slave_index(const struct stat& st) { return (major(st.st_rdev) - 136) * 256 + minor(st.st_rdev); }
uint32_t info_id(uint32_t index, bool master) { return index * 2 + (master ? 1 : 0); }

// Session and foreground group of a terminal, as the processes of the tree know it. 0 if it controls none of them.
void find_session(const struct stat& st, const Collected& collected, image::TtyInfoEntry& info) {
  for (pid_t pid : collected.pids) {
    const auto text = sys::read_proc(fmt::format("/proc/{}/stat", pid));
    const size_t close = text ? text->rfind(')') : std::string::npos;
    int session = 0, tty = 0, foreground = 0;
    if (close == std::string::npos || std::sscanf(text->c_str() + close + 1, " %*c %*d %*d %d %d %d", &session, &tty, &foreground) != 3) continue;
    // The kernel writes the device number in its new encoding, of which stat(2) has another.
    if (static_cast<uint32_t>(tty) != ((minor(st.st_rdev) & 0xff) | (major(st.st_rdev) << 8) | ((minor(st.st_rdev) & ~0xffu) << 12))) continue;
    info.sid = static_cast<uint32_t>(std::max(0, session));
    info.pgrp = static_cast<uint32_t>(std::max(0, foreground));
    return;
  }
}

const image::TtyInfoEntry* info_of(uint32_t id, const image::Checkpoint& checkpoint) {
  for (const image::TtyInfoEntry& info : checkpoint.ttys)
    if (info.id == id) return &info;
  return nullptr;
}

bool has_master(uint32_t index, const image::Checkpoint& checkpoint) {
  for (const auto& [id, entry] : checkpoint.files)
    if (entry.tty && entry.tty->tty_info_id == info_id(index, true)) return true;
  return false;
}

// The terminal from which the restore was started.
std::string own_terminal() {
  for (int fd : {0, 1, 2})
    if (::isatty(fd))
      if (const char* name = ::ttyname(fd)) return name;
  return {};
}

// Ours, if it was opened in the same way: programs of a shell share the open terminal with it.
UniqueFd own_descriptor(uint32_t flags, int first_fd) {
  constexpr uint32_t kSame = O_ACCMODE | O_NONBLOCK | O_APPEND | kOpenedFile;
  for (int fd : {0, 1, 2})
    if (::isatty(fd) && ((static_cast<uint32_t>(::fcntl(fd, F_GETFL)) ^ flags) & kSame) == 0) return UniqueFd(::fcntl(fd, F_DUPFD_CLOEXEC, first_fd));
  return UniqueFd();
}

// As openpty(3) does.
Result<UniqueFd> open_through_master(int master, uint32_t flags, const std::string& path) {
  UniqueFd fd(::ioctl(master, TIOCGPTPEER, static_cast<int>(open_flags(flags))));
  if (!fd) return sys_error("{} cannot be opened through its master", path);
  return fd;
}

class Tty final : public FileKind {
 public:
  image::FdTypes type() const override { return image::FdTypes::TTY; }

  bool recognises(const FdView& fd) const override {
    return S_ISCHR(fd.st.st_mode) && !fd.only_path() && (is_master(fd.st) || is_slave(fd.st) || is_other(fd.st));
  }

  Result<void> collect(const FdView& fd, Collected& collected, image::FileEntry& entry) const override {
    if (is_other(fd.st)) return fd.refuse("of terminals only pseudo-terminals opened by their own name are supported yet (not /dev/tty, consoles, serial lines)");
    const bool master = is_master(fd.st);
    unsigned index = 0;
    if (master && ::ioctl(fd.copy.get(), TIOCGPTN, &index) < 0) return sys_error("{}: its number cannot be asked", fd.name());
    if (!master) index = slave_index(fd.st);
    if (index > kMaxIndex) return fd.refuse(fmt::format("pseudo-terminals above number {} are not supported", kMaxIndex));
    const uint32_t id = info_id(index, master);
    entry.tty = image::TtyFileEntry{.id = entry.id, .tty_info_id = id, .flags = fd.flags, .fown = TRY(owner_of(fd)), .regf_id = TRY(collect_path_of(fd, collected))};
    Collected::TtyState& state = collected.tty_states[id];
    if (!state.first.empty()) return {};
    state.first = fd.name();
    int unread = 0;
    if (::ioctl(fd.copy.get(), FIONREAD, &unread) < 0) return fd.refuse("the terminal was hung up");
    state.unread = unread;
    image::TtyInfoEntry info;
    info.id = id;
    info.type = image::TtyType::PTY;
    info.rdev = static_cast<uint32_t>(fd.st.st_rdev);
    info.dev = static_cast<uint32_t>(fd.st.st_dev);
    info.uid = fd.st.st_uid;
    info.gid = fd.st.st_gid;
    info.pty = image::TtyPtyEntry{.index = index};
    if (!master) find_session(fd.st, collected, info);
    TRY(collect_settings(fd, master, info));
    collected.ttys.push_back(std::move(info));
    return {};
  }

  Result<void> complete(Collected& collected) const override {
    for (const auto& [id, state] : collected.tty_states) {
      const bool whole = collected.tty_states.contains(id | 1);
      if (!whole && !collected.policy.shell_job)
        return error(ENOTSUP, "{} cannot be checkpointed: the terminal belongs to a process outside the tree; use --shell-job, and restore from a terminal",
                     state.first);
      if (whole && state.unread)
        return error(ENOTSUP, "{} cannot be checkpointed: {} bytes are on their way through this terminal, which is not supported yet; try again", state.first,
                     state.unread);
    }
    return {};
  }

  Result<void> check(const image::FileEntry& entry, const Rebuild& rebuild) const override {
    const image::TtyInfoEntry* info = entry.tty ? info_of(entry.tty->tty_info_id, rebuild.checkpoint) : nullptr;
    if (!info) return error(EBADMSG, "files.img or tty-info.img has no part for this terminal");
    if (info->type != image::TtyType::PTY || !info->pty || info->pty->index > kMaxIndex) return error(ENOTSUP, "only pseudo-terminals can be restored yet");
    if (has_master(info->pty->index, rebuild.checkpoint)) {
      const std::string slave = fmt::format("/dev/pts/{}", info->pty->index);
      if (::access(slave.c_str(), F_OK) == 0) return error(EBUSY, "{} is in use by another program; the restored one needs this number", slave);
      return {};
    }
    if (!rebuild.policy.shell_job) return error(EINVAL, "it was on a terminal of a shell: restore with --shell-job");
    if (own_terminal().empty()) return error(ENOTTY, "--shell-job: the restore must be started from a terminal");
    return {};
  }

  Result<UniqueFd> recreate(const image::FileEntry& entry, Rebuild& rebuild) const override {
    const image::TtyFileEntry& tty = *entry.tty;
    const uint32_t index = info_of(tty.tty_info_id, rebuild.checkpoint)->pty->index;
    std::string path = fmt::format("/dev/pts/{}", index);
    if (has_master(index, rebuild.checkpoint)) {
      if (!rebuild.masters.contains(index)) TRY(make_pair(index, rebuild));
      if (tty.tty_info_id == info_id(index, true)) {
        UniqueFd fd(::fcntl(rebuild.masters[index].get(), F_DUPFD_CLOEXEC, rebuild.first_fd));
        if (!fd) return sys_error("the master of {} cannot be duplicated", path);
        TRY(set_status_flags(fd.get(), tty.flags, path));
        return fd;
      }
      if (!(tty.flags & kOpenedFile)) return open_through_master(rebuild.masters[index].get(), tty.flags, path);
    } else {
      path = own_terminal();
      UniqueFd inherited = own_descriptor(tty.flags, rebuild.first_fd);
      if (inherited) return inherited;
    }
    UniqueFd fd(::open(path.c_str(), static_cast<int>(open_flags(tty.flags))));
    if (!fd) return sys_error("{} cannot be opened", path);
    return fd;
  }

  void relations(const image::FileEntry& entry, uint32_t number, const image::Task& task, const Rebuild& rebuild,
                 agent::Program& program) const override {
    const image::TtyInfoEntry& info = *info_of(entry.tty->tty_info_id, rebuild.checkpoint);
    if ((info.id & 1) || info.sid == 0) return;
    const bool inside = has_master(info.pty->index, rebuild.checkpoint);
    const auto pid = static_cast<uint32_t>(task.pid());
    if (inside && info.sid == pid) program.syscall(fmt::format("descriptor {}: controlling terminal", number), SYS_ioctl, {number, TIOCSCTTY, 0});
    // The leader sets the foreground group; of a shell outside of the tree, the group does so for itself.
    if (info.pgrp && (inside ? info.sid == pid : info.pgrp == pid)) {
      const auto group = program.value(static_cast<pid_t>(info.pgrp));
      program.try_syscall(fmt::format("descriptor {}: group {} in the foreground", number, info.pgrp), SYS_ioctl, {number, TIOCSPGRP, group});
    }
  }

 private:
  // A master with this number: the kernel gives the lowest free one, so that those below are taken meanwhile.
  static Result<void> make_pair(uint32_t index, Rebuild& rebuild) {
    std::vector<UniqueFd> below;
    for (;;) {
      UniqueFd fd(::open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC));
      unsigned got = 0;
      if (!fd || ::ioctl(fd.get(), TIOCGPTN, &got) < 0) return sys_error("pseudo-terminal {} cannot be made (/dev/ptmx)", index);
      if (got > index) return error(EBUSY, "/dev/pts/{} is in use by another program; the restored one needs this number", index);
      below.push_back(std::move(fd));
      if (got == index) break;
    }
    UniqueFd master = TRY(rebuild.out_of_the_way(std::move(below.back()), "pseudo-terminal"));
    const std::string path = fmt::format("/dev/pts/{}", index);
    const int unlock = 0;
    if (::ioctl(master.get(), TIOCSPTLCK, &unlock) < 0) return sys_error("{} cannot be unlocked", path);
    UniqueFd slave(::open(path.c_str(), O_RDWR | O_NOCTTY | O_CLOEXEC));
    if (!slave) return sys_error("{} cannot be opened", path);
    const image::TtyInfoEntry& of_master = *info_of(info_id(index, true), rebuild.checkpoint);
    if (const auto* of_slave = info_of(info_id(index, false), rebuild.checkpoint)) {
      if (::fchown(slave.get(), of_slave->uid.value_or(0), of_slave->gid.value_or(0)) < 0) return sys_error("{}: owner", path);
      TRY(apply_settings(slave.get(), *of_slave, path));
    } else {
      TRY(apply_settings(slave.get(), of_master, path));
    }
    // What bars others from opening it comes when all is open.
    rebuild.at_the_end.push_back([&rebuild, index, &of_master, path] { return apply_modes(rebuild.masters[index].get(), of_master, path); });
    rebuild.masters[index] = std::move(master);
    rebuild.slaves[index] = TRY(rebuild.out_of_the_way(std::move(slave), "pseudo-terminal"));
    return {};
  }
};

const Tty kTty;

}  // namespace

extern const FileKind& tty_kind;
const FileKind& tty_kind = kTty;

}  // namespace faultline::objects
