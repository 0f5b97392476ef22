#include "core/image/kinds.h"

namespace faultline::image {

namespace {

constexpr Kind kAll[] = {
    kInventory, kPstree, kSeccomp, kCore, kIds, kMm, kPagemap, kFs, kFdinfo, kFiles, kRemapFpath, kGhostFile, kMemfdInode, kPipesData, kFifoData,
    kSkQueues, kTtyInfo, kTtyData, kTimens, kStats, kInterruptedCalls, kOrigin, kCgroup, kTcpStream, kUtsns, kIpcVar, kUserns, kMountpoints, kNetns, kNetdev,
    {"APPARMOR", 0x59423047, "apparmor_entry"},
    {"FILE_LOCKS", 0x54323616, "file_lock_entry"},
    {"CPUINFO", 0x61404013, "cpuinfo_entry"},
    {"BINFMT_MISC", 0x67343323, "binfmt_misc_entry"},
    {"BPFMAP_DATA", 0x64324033, "bpfmap_data_entry", {}, Payload::kBpfMap},
    {"IPCNS_SHM", 0x46283044, "ipc_shm_entry", {}, Payload::kIpcShm},
    {"IPCNS_MSG", 0x55453737, "ipc_msg_entry", {}, Payload::kIpcMsg},
    {"IPCNS_SEM", 0x59573019, "ipc_sem_entry", {}, Payload::kIpcSem},
    {"PIDNS", 0x61157326, "pidns_entry"},
    {"AUTOFS", 0x49353943, "autofs_entry"},
    {"IRMAP_CACHE", 0x57004059, "irmap_cache_entry", {}, Payload::kNone, true},
    // Only old versions wrote these (formats/image-files.md, section 2.8).
    {"REG_FILES", 0x50363636, "reg_file_entry"},
    {"EXT_FILES", 0x59255641, "ext_file_entry"},
    {"NS_FILES", 0x61394011, "ns_file_entry"},
    {"EVENTFD_FILE", 0x44523722, "eventfd_file_entry"},
    {"EVENTPOLL_FILE", 0x45023858, "eventpoll_file_entry"},
    {"EVENTPOLL_TFD", 0x44433746, "eventpoll_tfd_entry"},
    {"SIGNALFD", 0x57323820, "signalfd_entry"},
    {"INOTIFY_FILE", 0x48424431, "inotify_file_entry"},
    {"INOTIFY_WD", 0x54562009, "inotify_wd_entry"},
    {"FANOTIFY_FILE", 0x55096122, "fanotify_file_entry"},
    {"FANOTIFY_MARK", 0x56506035, "fanotify_mark_entry"},
    {"UNIXSK", 0x54373943, "unix_sk_entry"},
    {"INETSK", 0x56443851, "inet_sk_entry"},
    {"PACKETSK", 0x60454618, "packet_sock_entry"},
    {"NETLINK_SK", 0x58005614, "netlink_sk_entry"},
    {"PIPES", 0x56513555, "pipe_entry"},
    {"FIFO", 0x58364939, "fifo_entry"},
    {"TTY_FILES", 0x59433025, "tty_file_entry"},
    {"TUNFILE", 0x57143751, "tunfile_entry"},
    {"TIMERFD", 0x50493712, "timerfd_entry"},
    {"BPFMAP_FILE", 0x57506142, "bpfmap_file_entry"},
    {"PIDFD", 0x54435556, "pidfd_entry"},
    {"VMAS", 0x54123737, "vma_entry"},
    {"SIGACT", 0x55344201, "sa_entry"},
    {"ITIMERS", 0x57464056, "itimer_entry"},
    {"POSIX_TIMERS", 0x52603957, "posix_timer_entry"},
    {"CREDS", 0x54023547, "creds_entry"},
    {"RLIMIT", 0x57113925, "rlimit_entry"},
    {"SIGNAL", 0x59255647, "siginfo_entry"},
};

}  // namespace

std::span<const Kind> all_kinds() { return kAll; }

const Kind* kind_of(uint32_t magic, bool service) {
  for (const Kind& kind : kAll)
    if (kind.magic == magic && kind.service == service) return &kind;
  return nullptr;
}

}  // namespace faultline::image
