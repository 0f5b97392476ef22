// epoll_create(2): the set of watched files. The kernel keys it by file and by the number under which the file was added, so that the
// additions are made inside a process, under the old number, when the descriptors of the tree are in place.
//
// The image names the watched file by number, device and inode only. Kinds that have no inode of their own (eventfd, timerfd, ...) can only
// be found by number: a dump where the number leads elsewhere by now is refused.
#include <linux/kcmp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cinttypes>
#include <cstdio>

#include "core/objects/file_kind.h"

namespace faultline::objects {

namespace {

using Target = image::EventpollTfdEntry;

// What is left of a mask when a target with EPOLLONESHOT has fired.
constexpr uint32_t kModes = EPOLLET | EPOLLONESHOT | EPOLLWAKEUP | EPOLLEXCLUSIVE;

// True unless the images tell that this entry is not the watched file.
bool may_be(const image::FileEntry& entry, const Target& target) {
  const auto inode = inode_of(entry);
  return !inode || !target.inode || *inode == (*target.inode & 0xffffffff) || *inode == *target.inode;
}

bool surely_is(const image::FileEntry& entry, const Target& target) {
  if (!inode_of(entry) || !target.inode || !may_be(entry, target)) return false;
  // Both ends of a pipe have one inode: what is waited for tells which is meant.
  if (!entry.pipe) return true;
  const uint32_t access = entry.pipe->flags & O_ACCMODE;
  return (target.events & EPOLLIN) ? access != O_WRONLY : !(target.events & EPOLLOUT) || access != O_RDONLY;
}

// True if `number` of thread `tid` is the file that its epoll descriptor `epfd` watches as `target`, the `nth` of that number.
bool watches(pid_t tid, int epfd, uint32_t tfd, uint32_t nth, pid_t holder, int number) {
  kcmp_epoll_slot slot = {.efd = static_cast<uint32_t>(epfd), .tfd = tfd, .toff = nth};
  return ::syscall(SYS_kcmp, holder, tid, KCMP_EPOLL_TFD, number, &slot) == 0;
}

class Epoll final : public FileKind {
 public:
  image::FdTypes type() const override { return image::FdTypes::EVENTPOLL; }

  bool recognises(const FdView& fd) const override { return fd.link == "anon_inode:[eventpoll]"; }

  Result<void> collect(const FdView& fd, Collected&, image::FileEntry& entry) const override {
    image::EventpollFileEntry epoll;
    epoll.id = entry.id;
    epoll.flags = fd.flags;
    epoll.fown = TRY(owner_of(fd));
    for (size_t at = fd.fdinfo.find("\ntfd:"); at != std::string::npos; at = fd.fdinfo.find("\ntfd:", at + 1)) {
      Target target;
      uint64_t pos = 0, inode = 0;
      uint32_t dev = 0;
      if (std::sscanf(fd.fdinfo.c_str() + at, " tfd: %" SCNu32 " events: %" SCNx32 " data: %" SCNx64 " pos:%" SCNu64 " ino:%" SCNx64 " sdev:%" SCNx32,
                      &target.tfd, &target.events, &target.data, &pos, &inode, &dev) != 6)
        return fd.refuse("fdinfo tells its targets in a way that is not known");
      target.dev = dev;
      target.inode = inode;
      target.pos = pos;
      epoll.tfd.push_back(target);
    }
    entry.epfd = std::move(epoll);
    return {};
  }

  Result<void> complete(Collected& collected) const override {
    for (const image::FileEntry& entry : collected.files) {
      if (!entry.epfd) continue;
      std::map<uint32_t, uint32_t> nth;
      for (const Target& target : entry.epfd->tfd) TRY(check_target(entry, target, nth[target.tfd]++, collected));
    }
    return {};
  }

  Result<void> check(const image::FileEntry& entry, const Rebuild& rebuild) const override {
    if (!entry.epfd) return error(EBADMSG, "files.img has no part for this epoll");
    if (!rebuild.first_holder(entry.id)) return {};
    for (const Target& target : entry.epfd->tfd)
      if (!chosen(entry, target, rebuild).task) return error(EBADMSG, "epoll watches descriptor {}, which no process has", target.tfd);
    return {};
  }

  Result<UniqueFd> recreate(const image::FileEntry& entry, Rebuild&) const override {
    UniqueFd fd(::epoll_create1(EPOLL_CLOEXEC));
    if (!fd) return sys_error("epoll cannot be made");
    TRY(set_status_flags(fd.get(), entry.epfd->flags, "epoll"));
    return fd;
  }

  void relations(const image::FileEntry& entry, uint32_t number, const image::Task& task, const Rebuild& rebuild,
                 agent::Program& program) const override {
    // Those first that have fired with EPOLLONESHOT: to be disabled again they must fire, when nothing else can.
    for (const bool fired : {true, false})
      for (const Target& target : entry.epfd->tfd) {
        const Choice choice = chosen(entry, target, rebuild);
        if (choice.task != &task || fired != is_disabled(target)) continue;
        const Target added = fired ? to_be_fired(target, choice, rebuild) : target;
        add(number, added, choice.number, added.events != target.events, task, program);
      }
  }

 private:
  // Which process adds a target, and under which number it has the watched file.
  struct Choice { const image::Task* task = nullptr; uint32_t number = 0; };

  // How much a candidate tells, from best to worst. The same order is used at dump (check_target) and at restore.
  enum Candidate { kSureByNumber, kSureElsewhere, kPossibleByNumber, kNoCandidate };

  static Candidate rate(const image::FileEntry& file, uint32_t number, const Target& target) {
    if (surely_is(file, target)) return number == target.tfd ? kSureByNumber : kSureElsewhere;
    return number == target.tfd && may_be(file, target) ? kPossibleByNumber : kNoCandidate;
  }

  static Choice chosen(const image::FileEntry& epoll, const Target& target, const Rebuild& rebuild) {
    Candidate best = kNoCandidate;
    Choice choice;
    for (const image::Task& task : rebuild.checkpoint.tasks) {
      if (!Rebuild::number_of(task, epoll.id)) continue;
      for (const image::FdinfoEntry& fd : task.fds) {
        const Candidate candidate = rate(*rebuild.checkpoint.file(fd.id), fd.fd, target);
        if (candidate >= best) continue;
        best = candidate;
        choice = {&task, fd.fd};
        if (best == kSureByNumber) return choice;
      }
    }
    return choice;
  }

  // What chosen() will choose must be the file that is watched.
  static Result<void> check_target(const image::FileEntry& epoll, const Target& target, uint32_t nth, const Collected& collected) {
    const auto& holders = collected.holders.at(epoll.id);
    Candidate best = kNoCandidate;
    const Collected::Holder* holder = nullptr;
    int number = -1;
    std::set<pid_t> seen;
    for (const Collected::Holder& h : holders) {
      if (!seen.insert(h.pid).second) continue;
      for (auto at = collected.by_number.lower_bound({h.pid, 0}); at != collected.by_number.end() && at->first.first == h.pid; ++at) {
        const Candidate candidate = rate(*collected.file(at->second), static_cast<uint32_t>(at->first.second), target);
        if (candidate >= best) continue;
        best = candidate;
        holder = &h;
        number = at->first.second;
      }
    }
    if (holder && watches(holder->tid, holder->number, target.tfd, nth, holder->tid, number)) return {};
    return error(ENOTSUP, "pid {}: descriptor {} (epoll) cannot be checkpointed: it watches a file that was number {} when it was added, and which "
                 "cannot be told from others now; let the program remove it (EPOLL_CTL_DEL) before it closes the number",
                 holders.front().pid, holders.front().number, target.tfd);
  }

  static bool is_disabled(const Target& target) { return (target.events & EPOLLONESHOT) && !(target.events & ~kModes); }

  // A disabled target as it is added: waiting for all that can be, if something is there already, so that it fires at once. Otherwise it is
  // left to wait for errors, which the kernel always adds.
  static Target to_be_fired(Target target, const Choice& choice, const Rebuild& rebuild) {
    const auto fd = std::find_if(choice.task->fds.begin(), choice.task->fds.end(), [&](const auto& f) { return f.fd == choice.number; });
    const auto open = rebuild.open.find(fd->id);
    pollfd p = {.fd = open == rebuild.open.end() ? -1 : open->second.get(), .events = POLLIN | POLLOUT, .revents = 0};
    if (::poll(&p, 1, 0) == 1) target.events |= EPOLLIN | EPOLLOUT;
    return target;
  }

  static void add(uint32_t epoll, const Target& target, uint32_t number, bool fire, const image::Task& task, agent::Program& program) {
    const epoll_event event = {.events = target.events, .data = {.u64 = target.data}};
    const auto watch = [&] {
      program.syscall(fmt::format("epoll {}: watch {}", epoll, target.tfd), SYS_epoll_ctl, {epoll, EPOLL_CTL_ADD, target.tfd, program.value(event)});
      if (fire)
        program.syscall(fmt::format("epoll {}: let {} fire", epoll, target.tfd), SYS_epoll_pwait, {epoll, program.space(sizeof event), 1, 0, 0, 0});
    };
    if (number == target.tfd) return watch();
    // Another file has the number now, or none: the watched one takes it only for the addition.
    const image::FdinfoEntry* now = nullptr;
    for (const image::FdinfoEntry& fd : task.fds)
      if (fd.fd == target.tfd) now = &fd;
    if (!now) {
      program.syscall(fmt::format("epoll {}: give the watched file its number {}", epoll, target.tfd), SYS_dup3, {number, target.tfd, 0});
      watch();
      program.syscall(fmt::format("epoll {}: close number {} again", epoll, target.tfd), SYS_close, {target.tfd});
      return;
    }
    const agent::Program::Step saved =
        program.syscall(fmt::format("epoll {}: put number {} aside", epoll, target.tfd), SYS_fcntl, {target.tfd, F_DUPFD_CLOEXEC, 0});
    program.syscall(fmt::format("epoll {}: give the watched file its number {}", epoll, target.tfd), SYS_dup3, {number, target.tfd, 0});
    watch();
    program.syscall(fmt::format("epoll {}: put number {} back", epoll, target.tfd), SYS_dup3,
                    {saved, target.tfd, (now->flags & FD_CLOEXEC) ? O_CLOEXEC : 0});
    program.syscall(fmt::format("epoll {}: forget the copy of number {}", epoll, target.tfd), SYS_close, {saved});
  }
};

const Epoll kEpoll;

}  // namespace

extern const FileKind& epoll_kind;
const FileKind& epoll_kind = kEpoll;

}  // namespace faultline::objects
