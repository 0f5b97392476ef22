#include "core/cli/feature_table.h"

#include <algorithm>

#include "core/cli/probes/probes.h"

namespace faultline::cli {

namespace {

using enum Need;

const Feature kFeatures[] = {
    // Capabilities
    {"cap_sys_ptrace", kAlways, probe::cap_sys_ptrace, "programs cannot be stopped and examined; run as root, or: setcap cap_sys_ptrace+ep"},
    {"cap_checkpoint_restore", kAlways, probe::cap_checkpoint_restore,
     "processes cannot be given their old pids, nor deleted files be opened; run as root, or: setcap cap_checkpoint_restore+ep"},
    {"cap_sys_admin", kSome, probe::cap_sys_admin, "no --new-pidns, no mounts, no seccomp state"},
    {"cap_sys_resource", kSome, probe::cap_sys_resource,
     "limits above the present hard limits cannot be raised again, pipes not be enlarged over pipe-max-size"},

    // Dump
    {"ptrace_seize", kAlways, probe::ptrace_seize, "no dump, no restore; see kernel.yama.ptrace_scope"},
    {"process_vm_readv", kAlways, probe::process_vm_readv, "memory cannot be read"},
    {"pidfd_store", kAlways, probe::pidfd_store, "open files cannot be examined"},
    {"kcmp", kAlways, probe::kcmp, "it cannot be told which processes share a file (kernel option CONFIG_KCMP)"},
    {"kcmp_epoll", kSome, probe::kcmp_epoll, "programs with epoll sets whose descriptors were moved cannot be dumped"},
    {"map_files", kAlways, probe::map_files, "deleted files that are mapped cannot be saved (kernel option CONFIG_PROC_CHILDREN, or CAP_CHECKPOINT_RESTORE)"},
    {"pagemap_scan", kAlways, probe::pagemap_scan, "the pages of a process cannot be found; Linux 6.7 has it"},
    {"area_flags", kSome, probe::area_flags,
     "a dump stops large programs for longer, 15 ms for each GiB, to count their pages (kernel option CONFIG_DEBUG_INFO_BTF; CAP_BPF and CAP_PERFMON)"},
    {"get_rseq_conf", kAlways, probe::get_rseq_conf, "programs of glibc 2.35 and later cannot be dumped; Linux 5.13 has it"},
    {"mnt_id", kAlways, probe::mnt_id, "the mount of an open file is not known"},
    {"fdinfo_lock", kSome, probe::fdinfo_lock, "locks of files are not seen"},
    {"timerfd", kSome, probe::timerfd, "programs with timerfds cannot be restored exactly (kernel option CONFIG_CHECKPOINT_RESTORE)"},
    {"io_uring", kAlways, probe::io_uring, "pages can be neither written nor read; see kernel.io_uring_disabled"},
    {"overlayfs_maps", kSome, probe::overlayfs_maps, "mapped files on overlayfs may be taken for other files"},
    {"mem_dirty_track", kLater, probe::mem_dirty_track, "no incremental checkpoints"},
    {"uffd_wp", kLater, probe::uffd_wp, "no snapshots without a pause"},
    {"pagemap_scan_guard_pages", kLater, probe::pagemap_scan_guard_pages, "guard pages made by madvise(MADV_GUARD_INSTALL) are not seen"},

    // Restore
    {"clone3_set_tid", kAlways, probe::clone3_set_tid, "processes cannot get their old pids"},
    {"set_mm_map", kAlways, probe::set_mm_map, "heap, stack and argument areas cannot be told to the kernel (kernel option CONFIG_CHECKPOINT_RESTORE)"},
    {"can_map_vdso", kSome, probe::can_map_vdso, "programs can be restored only on the kernel they were dumped on"},
    {"uffd", kAlways, probe::uffd, "memory cannot be filled in; see vm.unprivileged_userfaultfd"},
    {"uffd-noncoop", kSome, probe::uffd_noncoop, "no --lazy-pages: a program that forks or unmaps while its memory arrives could not be followed"},
    {"uffd_shmem", kSome, probe::uffd_shmem, "shared memory cannot be restored lazily"},
    {"uffd_minor", kLater, probe::uffd_minor, "shared memory cannot be installed without a copy"},
    {"timer_cr_ids", kSome, probe::timer_cr_ids, "POSIX timers get their old ids slowly: by making and deleting those before; Linux 6.15 has it"},
    {"openat2", kSome, probe::openat2, "files below symbolic links cannot be opened strictly"},

    // Kernel objects that later versions will save. CRIU's names, for programs that ask.
    {"aio_remap", kLater, probe::aio_remap, "no programs with aio contexts"},
    {"tun", kLater, probe::tun, "no tun devices"},
    {"tun_ns", kLater, probe::tun_ns, "no tun devices in other network namespaces"},
    {"userns", kLater, probe::userns, "no user namespaces"},
    {"seccomp_suspend", kLater, probe::seccomp_suspend, "no programs under seccomp"},
    {"seccomp_filters", kLater, probe::seccomp_filters, "no programs with seccomp filters"},
    {"loginuid", kLater, probe::loginuid, "the login uid is not restored"},
    {"cgroupns", kLater, probe::cgroupns, "no cgroup namespaces"},
    {"autofs", kLater, probe::autofs, "no autofs mounts"},
    {"tcp_half_closed", kLater, probe::tcp_half_closed, "no half-closed TCP connections"},
    {"compat_cr", kLater, probe::not_in_this_version, "no 32-bit programs"},
    {"sk_ns", kLater, probe::sk_ns, "sockets of several network namespaces cannot be told apart"},
    {"sk_unix_file", kSome, probe::sk_unix_file, "unix sockets whose path was replaced are not found again"},
    {"net_diag_raw", kLater, probe::net_diag_raw, "no raw sockets"},
    {"nsid", kLater, probe::nsid, "no nested network namespaces"},
    {"link_nsid", kLater, probe::link_nsid, "no links across network namespaces"},
    {"timens", kLater, probe::timens, "no time namespaces"},
    {"external_net_ns", kLater, probe::not_in_this_version, "no external network namespaces"},
    {"newifindex", kLater, probe::newifindex, "links cannot keep their index when they are moved"},
    {"nftables", kLater, probe::nftables, "no nftables rules"},
    {"has_ipt_legacy", kLater, probe::ipt_legacy, "no iptables rules of the old kind"},
    {"ns_pid", kLater, probe::ns_pid, "no nested pid namespaces"},
    {"apparmor_stacking", kLater, probe::apparmor_stacking, "no stacked AppArmor profiles"},
    {"network_lock_nftables", kLater, probe::not_in_this_version, "traffic cannot be stopped while connections are saved"},
    {"sockopt_buf_lock", kSome, probe::sockopt_buf_lock, "it is not known whether a socket's buffer sizes were set by the program"},
    {"memfd_hugetlb", kLater, probe::memfd_hugetlb, "no memfds of huge pages"},
    {"move_mount_set_group", kLater, probe::move_mount_set_group, "no mount namespaces"},
    {"ipv6_freebind", kLater, probe::ipv6_freebind, "IPv6 sockets cannot be bound before their address is there"},
    {"breakpoints", kLater, probe::breakpoints, "restored threads are followed by single steps instead of breakpoints"},
};

}  // namespace

std::span<const Feature> features() { return kFeatures; }

const Feature* feature_of(std::string_view name) {
  const auto it = std::ranges::find_if(kFeatures, [&](const Feature& f) { return name == f.name; });
  return it == std::end(kFeatures) ? nullptr : &*it;
}

}  // namespace faultline::cli
