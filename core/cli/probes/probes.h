#pragma once

#include "core/base/result.h"

// One function per kernel feature. Each tries the feature itself (never a version number), leaves nothing behind, and returns an error
// that says what is missing. Only for a process with one thread, because some fork.
namespace faultline::cli::probe {

// memory.cc
Result<void> uffd();
Result<void> uffd_noncoop();
Result<void> uffd_shmem();
Result<void> uffd_minor();
Result<void> uffd_wp();
Result<void> pagemap_scan();
Result<void> pagemap_scan_guard_pages();
Result<void> mem_dirty_track();
Result<void> aio_remap();
Result<void> memfd_hugetlb();
Result<void> map_files();
Result<void> area_flags();
Result<void> overlayfs_maps();
Result<void> set_mm_map();
Result<void> process_vm_readv();
Result<void> io_uring();

// process.cc
Result<void> cap_sys_ptrace();
Result<void> cap_checkpoint_restore();
Result<void> cap_sys_admin();
Result<void> cap_sys_resource();
Result<void> ptrace_seize();
Result<void> get_rseq_conf();
Result<void> seccomp_suspend();
Result<void> seccomp_filters();
Result<void> clone3_set_tid();
Result<void> pidfd_store();
Result<void> kcmp();
Result<void> kcmp_epoll();
Result<void> timer_cr_ids();
Result<void> loginuid();
Result<void> userns();
Result<void> cgroupns();
Result<void> timens();
Result<void> ns_pid();
Result<void> breakpoints();
Result<void> can_map_vdso();
Result<void> apparmor_stacking();

// files.cc
Result<void> mnt_id();
Result<void> fdinfo_lock();
Result<void> timerfd();
Result<void> autofs();
Result<void> openat2();
Result<void> move_mount_set_group();
Result<void> sk_unix_file();

// network.cc
Result<void> tun();
Result<void> tun_ns();
Result<void> sk_ns();
Result<void> net_diag_raw();
Result<void> nsid();
Result<void> link_nsid();
Result<void> newifindex();
Result<void> nftables();
Result<void> ipt_legacy();
Result<void> tcp_half_closed();
Result<void> sockopt_buf_lock();
Result<void> ipv6_freebind();

// What CRIU can do and this tool cannot yet, whatever the kernel gives.
Result<void> not_in_this_version();

}  // namespace faultline::cli::probe
