// Credentials of a thread: ids, groups, capabilities, securebits, no_new_privs.
//
// Rebuilt in an order in which each step still has the right that it needs:
//  1. groups, inheritable set, bounding set (CAP_SETGID, CAP_SETPCAP)
//  2. SECBIT_NO_SETUID_FIXUP, so that a change of user ids takes no capability away
//  3. group ids, then user ids (CAP_SETGID, CAP_SETUID)
//  4. ambient set: needs its capabilities in the permitted and inheritable sets
//  5. securebits as they shall be (CAP_SETPCAP)
//  6. permitted and effective sets
//  7. no_new_privs
// What we have already is not set, so that a restore with the same credentials needs no privilege.
#include <grp.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <bit>
#include <cinttypes>
#include <cstdio>

#include "core/base/log.h"
#include "core/objects/task_kinds.h"
#include "core/sys/proc.h"

namespace faultline::objects {

namespace {

struct Sets {
  uint64_t inh, prm, eff, bnd, amb;
};

std::vector<uint32_t> words(uint64_t set) { return {static_cast<uint32_t>(set), static_cast<uint32_t>(set >> 32)}; }
uint64_t from_words(const std::vector<uint32_t>& w) { return (w.empty() ? 0 : w[0]) | (w.size() < 2 ? 0 : uint64_t{w[1]} << 32); }

Sets sets_of(const image::CredsEntry& c) {
  return {from_words(c.cap_inh), from_words(c.cap_prm), from_words(c.cap_eff), from_words(c.cap_bnd), from_words(c.cap_amb)};
}

bool parse_ids(const std::string& field, uint32_t& real, uint32_t& effective, uint32_t& saved, uint32_t& fs) {
  return std::sscanf(field.c_str(), "%" SCNu32 " %" SCNu32 " %" SCNu32 " %" SCNu32, &real, &effective, &saved, &fs) == 4;
}

// From /proc/PID/task/TID/status; all but the securebits. Ids are as our user namespace sees them.
Result<image::CredsEntry> parse_status(const std::string& path) {
  const std::string status = TRY(sys::read_proc(path));
  image::CredsEntry c;
  if (!parse_ids(sys::status_field(status, "Uid"), c.uid, c.euid, c.suid, c.fsuid) || !parse_ids(sys::status_field(status, "Gid"), c.gid, c.egid, c.sgid, c.fsgid))
    return error(EBADMSG, "{}: the user and group ids cannot be understood", path);
  const std::string groups = sys::status_field(status, "Groups");
  const char* at = groups.c_str();
  for (char* end;; at = end) {
    const unsigned long group = std::strtoul(at, &end, 10);
    if (end == at) break;
    c.groups.push_back(static_cast<uint32_t>(group));
  }
  const auto set = [&](const char* name) { return words(std::strtoull(sys::status_field(status, name).c_str(), nullptr, 16)); };
  c.cap_inh = set("CapInh"), c.cap_prm = set("CapPrm"), c.cap_eff = set("CapEff"), c.cap_bnd = set("CapBnd"), c.cap_amb = set("CapAmb");
  if (sys::status_field(status, "NoNewPrivs") == "1") c.no_new_privs = 1;
  return c;
}

// Those of the calling thread, by system calls: a restore asks for them once for every thread it makes.
image::CredsEntry ours() {
  image::CredsEntry c;
  ::getresuid(&c.uid, &c.euid, &c.suid);
  ::getresgid(&c.gid, &c.egid, &c.sgid);
  c.fsuid = static_cast<uint32_t>(::setfsuid(static_cast<uid_t>(-1)));  // an impossible id changes nothing
  c.fsgid = static_cast<uint32_t>(::setfsgid(static_cast<gid_t>(-1)));
  c.groups.resize(static_cast<size_t>(std::max(0, ::getgroups(0, nullptr))));
  c.groups.resize(static_cast<size_t>(std::max(0, ::getgroups(static_cast<int>(c.groups.size()), c.groups.data()))));
  __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2] = {};
  ::syscall(SYS_capget, &header, data);
  c.cap_eff = {data[0].effective, data[1].effective};
  c.cap_prm = {data[0].permitted, data[1].permitted};
  c.cap_inh = {data[0].inheritable, data[1].inheritable};
  uint64_t bounding = 0, ambient = 0;
  for (int cap = 0; cap < 64; ++cap) {
    const int bound = ::prctl(PR_CAPBSET_READ, cap, 0, 0, 0);
    if (bound < 0) break;  // the kernel knows no more capabilities
    if (bound > 0) bounding |= uint64_t{1} << cap;
    if (::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, cap, 0, 0) > 0) ambient |= uint64_t{1} << cap;
  }
  c.cap_bnd = words(bounding), c.cap_amb = words(ambient);
  c.secbits = static_cast<uint32_t>(::prctl(PR_GET_SECUREBITS, 0, 0, 0, 0));
  return c;
}

// The operations that turn the credentials that a thread has into those that it shall have.
class Change {
 public:
  Change(const image::CredsEntry& have, const image::CredsEntry& want, agent::Program& program)
      : have_(have), want_(want), has_(sets_of(have)), shall_(sets_of(want)), secbits_(have.secbits), program_(program) {}

  void make() {
    groups();
    if (shall_.inh != has_.inh) capset("set the inheritable capabilities", has_.eff, has_.prm, shall_.inh);
    for_each(has_.bnd & ~shall_.bnd, [this](int cap) {
      program_.syscall(fmt::format("drop capability {} from the bounding set", cap), SYS_prctl, {PR_CAPBSET_DROP, cap, 0, 0, 0});
    });
    ids();
    ambient();
    if (want_.secbits != secbits_) secbits(want_.secbits, "set the securebits");
    if (shall_.prm != has_.prm || shall_.eff != has_.eff) {
      const uint64_t lacking = shall_.prm & ~has_.prm;
      capset(lacking ? fmt::format("set the capabilities (the restoring process itself lacks {:#x})", lacking) : "set the capabilities", shall_.eff, shall_.prm, shall_.inh);
    }
    if (want_.no_new_privs.value_or(0)) program_.syscall("set no_new_privs", SYS_prctl, {PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0});
  }

 private:
  template <typename Do>
  static void for_each(uint64_t set, Do act) {
    for (; set; set &= set - 1) act(std::countr_zero(set));
  }

  void groups() {
    if (want_.groups == have_.groups) return;
    program_.syscall("set the supplementary groups", SYS_setgroups, {want_.groups.size(), program_.data(std::as_bytes(std::span(want_.groups)))});
  }

  void capset(std::string_view what, uint64_t eff, uint64_t prm, uint64_t inh) {
    const __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct Data { __user_cap_data_struct half[2]; };
    const Data data = {{{static_cast<uint32_t>(eff), static_cast<uint32_t>(prm), static_cast<uint32_t>(inh)},
                        {static_cast<uint32_t>(eff >> 32), static_cast<uint32_t>(prm >> 32), static_cast<uint32_t>(inh >> 32)}}};
    program_.syscall(what, SYS_capset, {program_.value(header), program_.value(data)});
  }

  void secbits(uint32_t bits, std::string_view what) {
    program_.syscall(what, SYS_prctl, {PR_SET_SECUREBITS, bits, 0, 0, 0});
    secbits_ = bits;
  }

  void ids() {
    const bool users = want_.uid != have_.uid || want_.euid != have_.euid || want_.suid != have_.suid || want_.fsuid != have_.fsuid;
    const bool groups = want_.gid != have_.gid || want_.egid != have_.egid || want_.sgid != have_.sgid || want_.fsgid != have_.fsgid;
    if (users && !(secbits_ & SECBIT_NO_SETUID_FIXUP)) secbits(secbits_ | SECBIT_NO_SETUID_FIXUP, "keep the capabilities while the user ids change");
    if (groups) {
      program_.syscall("set the group ids", SYS_setresgid, {want_.gid, want_.egid, want_.sgid});
      // setfsgid(2) and setfsuid(2) give the id that was there before and no errors; with the capability they do not fail.
      program_.syscall("set the filesystem group id", SYS_setfsgid, {want_.fsgid});
    }
    if (users) {
      program_.syscall("set the user ids", SYS_setresuid, {want_.uid, want_.euid, want_.suid});
      program_.syscall("set the filesystem user id", SYS_setfsuid, {want_.fsuid});
    }
  }

  void ambient() {
    for_each(has_.amb & ~shall_.amb, [this](int cap) {
      program_.syscall(fmt::format("drop ambient capability {}", cap), SYS_prctl, {PR_CAP_AMBIENT, PR_CAP_AMBIENT_LOWER, cap, 0, 0});
    });
    for_each(shall_.amb & ~has_.amb, [this](int cap) {
      program_.syscall(fmt::format("raise ambient capability {}", cap), SYS_prctl, {PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0});
    });
  }

  const image::CredsEntry& have_;
  const image::CredsEntry& want_;
  const Sets has_, shall_;
  uint32_t secbits_;  // as they are after the operations so far
  agent::Program& program_;
};

class Creds : public ThreadState {
 public:
  void ask(agent::Program& program) override { secbits_ = program.syscall("get the securebits", SYS_prctl, {PR_GET_SECUREBITS, 0, 0, 0, 0}); }

  Result<void> collect(const ThreadView& thread, const agent::Program& program, image::CoreEntry& core) override {
    image::CredsEntry creds = TRY(parse_status(thread.proc("status")));
    creds.secbits = static_cast<uint32_t>(TRY(answer(thread, program, secbits_, "securebits")));
    core.thread_core->creds = std::move(creds);
    return {};
  }

  void rebuild(const image::CoreEntry& core, agent::Program& program) const override {
    if (!core.thread_core->creds) return;
    const image::CredsEntry have = ours();
    const uint64_t beyond = sets_of(*core.thread_core->creds).bnd & ~sets_of(have).bnd;
    // Nothing of what the program may do now depends on it, only what programs that it starts may gain. Once for each process is enough.
    if (beyond && core.tc) LOG_WARNING("{}: the bounding set of capabilities cannot get {:#x}, which the restoring process lacks", core.tc->comm, beyond);
    Change(have, *core.thread_core->creds, program).make();
  }

 private:
  agent::Program::Step secbits_{};
};

}  // namespace

std::unique_ptr<ThreadState> make_creds() { return std::make_unique<Creds>(); }

}  // namespace faultline::objects
