// about: real, effective, saved and file-system uids and gids, supplementary groups, capabilities and securebits
// no-crit: crit 3.17 does not know the field cap_amb

#include <grp.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>

#include "scenario.h"

struct state {
  uid_t uid[3];
  gid_t gid[3];
  int fsuid, fsgid, groups, securebits;
  gid_t group[64];
  struct __user_cap_data_struct caps[2];
  uint64_t bounding, ambient;
};

static void look(struct state* s) {
  memset(s, 0, sizeof *s);
  SYS(getresuid(&s->uid[0], &s->uid[1], &s->uid[2]));
  SYS(getresgid(&s->gid[0], &s->gid[1], &s->gid[2]));
  s->fsuid = setfsuid((uid_t)-1);
  s->fsgid = setfsgid((gid_t)-1);
  s->groups = SYS(getgroups(64, s->group));
  s->securebits = SYS(prctl(PR_GET_SECUREBITS, 0, 0, 0, 0));
  struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  SYS(syscall(SYS_capget, &header, s->caps));
  for (int cap = 0; cap < 64; cap++) {
    if (prctl(PR_CAPBSET_READ, cap, 0, 0, 0) == 1) s->bounding |= 1ull << cap;
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, cap, 0, 0) == 1) s->ambient |= 1ull << cap;
  }
}

static void set_caps(uint64_t effective, uint64_t permitted, uint64_t inheritable) {
  struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct data[2] = {{(uint32_t)effective, (uint32_t)permitted, (uint32_t)inheritable},
                                           {(uint32_t)(effective >> 32), (uint32_t)(permitted >> 32), (uint32_t)(inheritable >> 32)}};
  SYS(syscall(SYS_capset, &header, data));
}

static void stay(const char* name) {
  struct state before, after;
  look(&before);
  mark(name);
  wait_for_go();
  look(&after);
  CHECK(memcmp(before.uid, after.uid, sizeof before.uid) == 0, "%s: uids %d %d %d became %d %d %d", name, before.uid[0], before.uid[1],
        before.uid[2], after.uid[0], after.uid[1], after.uid[2]);
  CHECK(memcmp(before.gid, after.gid, sizeof before.gid) == 0, "%s: gids", name);
  CHECK(before.fsuid == after.fsuid && before.fsgid == after.fsgid, "%s: fsuid %d fsgid %d became %d %d", name, before.fsuid, before.fsgid,
        after.fsuid, after.fsgid);
  CHECK(before.groups == after.groups && memcmp(before.group, after.group, sizeof before.group) == 0, "%s: groups", name);
  CHECK(before.securebits == after.securebits, "%s: securebits %#x became %#x", name, before.securebits, after.securebits);
  CHECK(memcmp(before.caps, after.caps, sizeof before.caps) == 0, "%s: capabilities", name);
  CHECK(before.bounding == after.bounding, "%s: bounding set %#llx became %#llx", name, (long long)before.bounding,
        (long long)after.bounding);
  CHECK(before.ambient == after.ambient, "%s: ambient set %#llx became %#llx", name, (long long)before.ambient, (long long)after.ambient);
}

static int user(void* arg) {
  gid_t groups[] = {5, 700, 70000};
  SYS(setgroups(3, groups));
  SYS(setresgid(1001, 1002, 1003));
  SYS(setresuid(2001, 2002, 2003));
  return stay("user"), 0;
}

static int capable(void* arg) {
  SYS(prctl(PR_CAPBSET_DROP, CAP_SYS_BOOT, 0, 0, 0));
  SYS(prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP | SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_KEEP_CAPS, 0, 0, 0));
  SYS(setgroups(0, NULL));
  SYS(setresuid(3000, 3000, 3000));
  uint64_t some = 1ull << CAP_NET_ADMIN | 1ull << CAP_CHOWN | 1ull << CAP_DAC_OVERRIDE;
  set_caps(1ull << CAP_CHOWN | 1ull << CAP_DAC_OVERRIDE, some, 1ull << CAP_NET_ADMIN | 1ull << CAP_CHOWN);
  SYS(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_ADMIN, 0, 0));
  return stay("capable"), 0;
}

static int mixed(void* arg) {
  SYS(setresuid(0, 4000, 0));
  setfsuid(0);
  return stay("mixed"), 0;
}

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  SYS(chmod(scenario_dir, 0777));
  pid_t a = spawn(user, NULL), b = spawn(capable, NULL), c = spawn(mixed, NULL);
  await_mark("user");
  await_mark("capable");
  await_mark("mixed");
  ready();
  wait_for_go();
  join_child(a);
  join_child(b);
  join_child(c);
  return 0;
}
