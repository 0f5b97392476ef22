#include "core/restore/address_space.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <linux/prctl.h>
#include <linux/userfaultfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "core/sys/kernel.h"

namespace faultline::restore {

namespace {

// The end of what a program can map without asking for five-level addresses (Documentation/arch/x86/x86_64/mm.rst).
constexpr Vaddr kUserEnd = 0x7fff'ffff'f000;
constexpr uint64_t kMostAtOnce = 1 << 30;  // read(2) takes a little less than 2 GiB
constexpr int kMadvGuardInstall = 102;     // include/uapi/asm-generic/mman-common.h (Linux 6.13)

bool kernel_area(const image::VmaEntry& vma) { return vma.status & (image::kVmaVdso | image::kVmaVvar | image::kVmaVsyscall); }
bool is_private(const image::VmaEntry& vma) { return vma.status & (image::kVmaFilePrivate | image::kVmaAnonPrivate); }

// Pages of these may come late: the rest needs them at once (a lock populates, a file mapping has no missing pages to wait for).
bool may_be_lazy(const image::VmaEntry& vma) {
  return (vma.status & image::kVmaAnonPrivate) && !kernel_area(vma) && (vma.flags & MAP_ANONYMOUS) && !(vma.flags & MAP_LOCKED);
}

const image::VmaEntry* find_kind(const image::MmEntry& mm, uint32_t bit) {
  for (const image::VmaEntry& vma : mm.vmas)
    if (vma.status & bit) return &vma;
  return nullptr;
}

}  // namespace

std::vector<Vaddr> first_pages(const image::Task& task) {
  std::vector<Vaddr> pages;
  const auto add = [&](Vaddr from, uint64_t size) {
    for (Vaddr page = page_down(from); page < from + size; page += kPageSize) pages.push_back(page);
  };
  const auto thread = [&](const image::CoreEntry& core) {
    const image::UserX86RegsEntry& r = core.thread_info->gpregs;
    add(r.sp - 128, 256);
    add(r.ip, 16);
    add(r.fs_base, 16);
    // For a thread that ends (exit_pages.h): here they cost no way to the page server of their own.
    if (core.thread_core->futex_rla) add(core.thread_core->futex_rla, sizeof(robust_list_head));
    if (core.thread_info->clear_tid_addr) add(core.thread_info->clear_tid_addr, sizeof(uint32_t));
    if (core.thread_core->rseq_entry) add(core.thread_core->rseq_entry->rseq_abi_pointer, core.thread_core->rseq_entry->rseq_abi_size);
    // Arguments of calls that are to be continued.
    for (uint64_t argument : {r.di, r.si, r.dx, r.r10}) add(argument, 64);
  };
  thread(task.core);
  for (const image::CoreEntry& core : task.threads) thread(core);
  // Whoever looks at /proc/PID/cmdline or environ does not wait for a page: he sees nothing instead (mm/memory.c, access_remote_vm()).
  constexpr uint64_t kMost = 128 << 10;
  if (task.mm) {
    add(task.mm->mm_arg_start, std::min(kMost, task.mm->mm_arg_end - task.mm->mm_arg_start));
    add(task.mm->mm_env_start, std::min(kMost, task.mm->mm_env_end - task.mm->mm_env_start));
  }
  std::sort(pages.begin(), pages.end());
  pages.erase(std::unique(pages.begin(), pages.end()), pages.end());
  return pages;
}

std::vector<Vaddr> remote_first_pages(const image::Task& task) {
  std::vector<Vaddr> pages = first_pages(task);
  std::erase_if(pages, [&](Vaddr page) {
    for (const image::PagemapEntry& entry : task.pagemap.entries)
      if (entry.vaddr <= page && page < entry.vaddr + *entry.nr_pages * kPageSize) return !image::is_remote(entry);
    return true;
  });
  return pages;
}

SpaceBuilder::SpaceBuilder(const image::Task& task, const SpaceContext& context, int pages_fd) : task_(task), context_(context), pages_fd_(pages_fd) {
  uint64_t offset = 0;
  for (const image::PagemapEntry& entry : task_.pagemap.entries) {
    const bool here = *entry.flags & image::kPagePresent;
    if (!here && !(*entry.flags & image::kPageLazy)) continue;
    stored_.push_back({entry.vaddr, entry.vaddr + *entry.nr_pages * kPageSize, offset, here});
    if (here) offset += *entry.nr_pages * kPageSize;
  }
}

std::span<const SpaceBuilder::Stored> SpaceBuilder::stored_from(Vaddr at) const {
  const auto first = std::upper_bound(stored_.begin(), stored_.end(), at, [](Vaddr a, const Stored& run) { return a < run.end; });
  return {first, stored_.end()};
}

bool SpaceBuilder::stored_in(const image::VmaEntry& vma) const {
  const auto runs = stored_from(vma.start);
  return !runs.empty() && runs.front().start < vma.end;
}

bool SpaceBuilder::never_comes(Vaddr page) const {
  const auto runs = stored_from(page);
  if (!runs.empty() && runs.front().start <= page) return false;
  return std::ranges::any_of(task_.mm->vmas, [&](const image::VmaEntry& vma) {
    return vma.start <= page && page < vma.end && is_private(vma) && stored_in(vma) && may_be_lazy(vma);
  });
}

Result<void> SpaceBuilder::check() const {
  const image::MmEntry& mm = *task_.mm;
  for (const image::PagemapEntry& entry : task_.pagemap.entries)
    if (*entry.flags & image::kPageParent)
      return error(ENOTSUP, "pid {}: pages are in a parent checkpoint; incremental checkpoints cannot be restored yet", task_.pid());
  for (const image::VmaEntry& vma : mm.vmas) {
    const uint32_t known = image::kVmaRegular | image::kVmaVsyscall | image::kVmaVdso | image::kVmaHeap | image::kVmaFilePrivate | image::kVmaFileShared |
                           image::kVmaAnonPrivate | image::kVmaVvar | image::kVmaMemfd | image::kVmaGuard | 0x2;
    if (vma.status & ~known)
      return error(ENOTSUP, "pid {}: the area {:x}-{:x} is of a kind (status {:#x}) that cannot be restored yet", task_.pid(), vma.start, vma.end, vma.status);
    if (is_private(vma) && !kernel_area(vma) && !may_be_lazy(vma))
      for (const Stored& run : stored_from(vma.start))
        if (run.start < vma.end && !run.here)
          return error(EBADMSG, "pid {}: pages of the area {:x}-{:x}, which must be there before the process runs, are not in the images", task_.pid(), vma.start, vma.end);
    if (vma.end > kUserEnd && !(vma.status & image::kVmaVsyscall)) return error(ENOTSUP, "pid {}: the area {:x}-{:x} is above 47-bit addresses", task_.pid(), vma.start, vma.end);
    const bool file = vma.status & (image::kVmaFilePrivate | image::kVmaFileShared);
    if (file && vma.shmid > UINT32_MAX) return error(EBADMSG, "pid {}: the area {:x}-{:x} has no valid file", task_.pid(), vma.start, vma.end);
  }
  // What rseq(2) is told of, the kernel has written, and writes again before anybody serves faults.
  std::vector<const image::CoreEntry*> threads = {&task_.core};
  for (const image::CoreEntry& core : task_.threads) threads.push_back(&core);
  for (const image::CoreEntry* core : threads) {
    if (!core->thread_core->rseq_entry) continue;
    const image::RseqEntry& rseq = *core->thread_core->rseq_entry;
    for (Vaddr page = page_down(rseq.rseq_abi_pointer); page < rseq.rseq_abi_pointer + rseq.rseq_abi_size; page += kPageSize)
      if (never_comes(page)) return error(EBADMSG, "pagemap-{}.img has no page at {:x}, which the kernel has written (rseq)", task_.pid(), page);
  }
  // The program has addresses inside the vDSO in its memory, so that it must be the same one.
  const auto [vdso, vvar] = std::pair(find_kind(mm, image::kVmaVdso), find_kind(mm, image::kVmaVvar));
  uint64_t own_vdso = 0, own_vvar = 0;
  for (const sys::Area& area : context_.own_special) (area.name == "[vdso]" ? own_vdso : own_vvar) += area.size();
  if ((vdso && vdso->end - vdso->start != own_vdso) || (vvar && vvar->end - vvar->start != own_vvar))
    return error(ENOTSUP, "pid {}: the vDSO of the checkpoint is not that of this kernel (another kernel version); it cannot be restored here", task_.pid());
  return {};
}

void SpaceBuilder::build(agent::Program& program) {
  give_up_old(program);
  move_special(program);
  hide_arguments(program);
  for (const image::VmaEntry& vma : task_.mm->vmas)
    if (!kernel_area(vma)) map_area(vma, program);
  read_first_pages(program);
}

void SpaceBuilder::give_up_old(agent::Program& program) const {
  std::vector<Range> keep = {context_.region};
  for (const sys::Area& area : context_.own_special) keep.push_back({area.start, area.end});
  std::sort(keep.begin(), keep.end());
  Vaddr at = 0;
  for (const auto& [start, end] : keep) {
    if (start > at) program.syscall("give up the old address space", SYS_munmap, {at, start - at});
    at = end;
  }
  program.syscall("give up the old address space", SYS_munmap, {at, kUserEnd - at});
}

void SpaceBuilder::move_special(agent::Program& program) const {
  const image::VmaEntry* vdso = find_kind(*task_.mm, image::kVmaVdso);
  const image::VmaEntry* vvar = find_kind(*task_.mm, image::kVmaVvar);
  Vaddr next_vvar = vvar ? vvar->start : 0;
  // They may be in each other's way: first all of them go to a place that nobody uses, right behind the region.
  Vaddr aside = context_.region.second;
  std::vector<std::pair<sys::Area, Vaddr>> moved;
  for (sys::Area area : context_.own_special) {
    const uint64_t size = area.size();
    const bool wanted = area.name == "[vdso]" ? vdso != nullptr : vvar != nullptr;
    if (!wanted) {
      program.syscall("give up the vDSO", SYS_munmap, {area.start, size});
      continue;
    }
    program.syscall("move the vDSO aside", SYS_mremap, {area.start, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, aside});
    const Vaddr target = area.name == "[vdso]" ? vdso->start : next_vvar;
    if (area.name != "[vdso]") next_vvar += size;
    moved.push_back({area, target});
    program.syscall("move the vDSO to its place", SYS_mremap, {aside, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, target});
    aside += size;
  }
}

void SpaceBuilder::map_area(const image::VmaEntry& vma, agent::Program& program) {
  const uint64_t length = vma.end - vma.start;
  if (vma.status & image::kVmaGuard) {
    program.syscall("guard pages", SYS_madvise, {vma.start, length, kMadvGuardInstall});
    return;
  }
  const bool file = !(vma.flags & MAP_ANONYMOUS);
  const bool stored = is_private(vma) && stored_in(vma);
  const bool lazy = stored && may_be_lazy(vma);
  // Pages can be read only into writable memory. Memory that has contents was writable once, which the kernel remembers (VM_ACCOUNT), but
  // only of areas that have a page (mm/mprotect.c).
  const uint64_t prot = stored ? vma.prot | PROT_WRITE : vma.prot;
  const std::string what = fmt::format("map {:x}-{:x}", vma.start, vma.end);
  const int fd = file ? context_.fd_of(static_cast<uint32_t>(vma.shmid)) : -1;
  program.syscall(what, SYS_mmap, {vma.start, length, prot, vma.flags | MAP_FIXED, fd, file ? vma.pgoff : 0});
  if (stored && !lazy) {
    read_pages(vma.start, vma.end, program);
  }
  // Any page does; one that is not here is given up again below.
  const Vaddr first = lazy ? std::max(vma.start, stored_from(vma.start).front().start) : 0;
  const bool borrowed = lazy && prot != vma.prot && !stored_from(vma.start).front().here;
  if (borrowed) program.syscall(fmt::format("a page for {:x}-{:x}", vma.start, vma.end), SYS_getrandom, {first, 1, 0});
  else if (lazy && prot != vma.prot) read_pages(first, first + kPageSize, program);
  if (prot != vma.prot) program.syscall("take the write permission back", SYS_mprotect, {vma.start, length, vma.prot});
  if (borrowed) program.syscall(fmt::format("give up the page of {:x}-{:x}", vma.start, vma.end), SYS_madvise, {first, kPageSize, MADV_DONTNEED});
  for (int advice = 0; advice < 64; ++advice)
    if (vma.madv.value_or(0) >> advice & 1) program.syscall(fmt::format("madvise {:x}-{:x}", vma.start, vma.end), SYS_madvise, {vma.start, length, advice});
  // Each area by itself: no page can be copied across the border of two.
  if (lazy) ranges_.push_back({vma.start, length, {}, vma.start});
  if (const uint32_t* shmid = context_.shared->late(vma)) ranges_.push_back({vma.start, length, *shmid, vma.pgoff});
}

void SpaceBuilder::read_pages(Vaddr start, Vaddr end, agent::Program& program) const {
  for (const Stored& run : stored_from(start)) {
    if (run.start >= end) break;
    if (!run.here) continue;
    Vaddr from = std::max(start, run.start);
    const Vaddr to = std::min(end, run.end);
    while (from < to) {
      const uint64_t size = std::min<uint64_t>(to - from, kMostAtOnce);
      program.transfer(fmt::format("read the pages of {:x}-{:x}", from, from + size), SYS_pread64, {pages_fd_, from, size, run.offset + (from - run.start)});
      from += size;
    }
  }
}

void SpaceBuilder::read_first_pages(agent::Program& program) const {
  const auto writable = [&](Vaddr page) {
    for (const image::VmaEntry& vma : task_.mm->vmas)
      if (vma.start <= page && page < vma.end) return may_be_lazy(vma) && (vma.prot & PROT_WRITE);
    return false;
  };
  for (Vaddr page : first_pages(task_))
    if (writable(page)) read_pages(page, page + kPageSize, program);
  if (!context_.early) return;
  for (const auto& [page, offset] : context_.early->offsets)
    if (writable(page)) program.transfer(fmt::format("read the page {:x}", page), SYS_pread64, {context_.early->fd, page, kPageSize, offset});
}

prctl_mm_map SpaceBuilder::bounds() const {
  const image::MmEntry& mm = *task_.mm;
  prctl_mm_map map = {};
  map.start_code = mm.mm_start_code, map.end_code = mm.mm_end_code;
  map.start_data = mm.mm_start_data, map.end_data = mm.mm_end_data;
  map.start_brk = mm.mm_start_brk, map.brk = mm.mm_brk, map.start_stack = mm.mm_start_stack;
  return map;
}

// Somebody may look at /proc/PID/cmdline or environ at any moment:
//  1. an area is mapped that holds the arguments, those of the program, or where ours were
//  2. ps(1) reads them, and the kernel puts the zero page there
//  3. the area is registered with userfaultfd, and the page counts as arrived: the program's arguments are zeros for ever
// So there are no arguments until the areas are registered.
void SpaceBuilder::hide_arguments(agent::Program& program) const {
  prctl_mm_map map = bounds();
  map.arg_start = map.arg_end = map.env_start = map.env_end = map.start_stack;
  map.exe_fd = ~0u;
  program.syscall("hide the arguments (prctl PR_SET_MM_MAP)", SYS_prctl, {PR_SET_MM, PR_SET_MM_MAP, program.value(map), sizeof map, 0});
}

void SpaceBuilder::set_layout(agent::Program& program) const {
  const image::MmEntry& mm = *task_.mm;
  const auto auxv = program.data(std::as_bytes(std::span(mm.mm_saved_auxv)));
  prctl_mm_map map = bounds();
  map.arg_start = mm.mm_arg_start, map.arg_end = mm.mm_arg_end;
  map.env_start = mm.mm_env_start, map.env_end = mm.mm_env_end;
  map.auxv_size = static_cast<uint32_t>(mm.mm_saved_auxv.size() * sizeof(uint64_t));
  map.exe_fd = static_cast<uint32_t>(context_.fd_of(mm.exe_file_id));
  const auto data = program.value(map);
  program.point(data, offsetof(prctl_mm_map, auxv), auxv);
  program.syscall("set program, arguments and auxiliary vector (prctl PR_SET_MM_MAP)", SYS_prctl, {PR_SET_MM, PR_SET_MM_MAP, data, sizeof map, 0});
}

void SpaceBuilder::hand_over_faults(agent::Program& program, int socket, uint32_t token) const {
  if (ranges_.empty()) return;
  const auto uffd = program.syscall("userfaultfd", SYS_userfaultfd, {O_CLOEXEC | O_NONBLOCK});
  const uffdio_api api = {.api = UFFD_API,
                          .features = UFFD_FEATURE_EVENT_FORK | UFFD_FEATURE_EVENT_REMAP | UFFD_FEATURE_EVENT_REMOVE | UFFD_FEATURE_EVENT_UNMAP |
                                      UFFD_FEATURE_MISSING_SHMEM,
                          .ioctls = 0};
  program.syscall("userfaultfd: UFFDIO_API", SYS_ioctl, {uffd, UFFDIO_API, program.value(api)});
  for (const LazyRange& range : ranges_) {
    const uffdio_register reg = {.range = {range.start, range.length}, .mode = UFFDIO_REGISTER_MODE_MISSING, .ioctls = 0};
    program.syscall(fmt::format("userfaultfd: register {:x}-{:x}", range.start, range.start + range.length), SYS_ioctl, {uffd, UFFDIO_REGISTER, program.value(reg)});
  }
  alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(sizeof(int))> control{};
  const cmsghdr header = {.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
  std::memcpy(control.data(), &header, sizeof header);
  const auto control_data = program.data(control);
  // The kernel takes the low half of the stored result as the descriptor; the other half is padding.
  program.point_store(control_data, CMSG_LEN(0), uffd);
  const auto token_data = program.value(token);
  const iovec io = {nullptr, sizeof token};
  const auto io_data = program.value(io);
  program.point(io_data, offsetof(iovec, iov_base), token_data);
  msghdr message = {};
  message.msg_iovlen = 1;
  message.msg_controllen = control.size();
  const auto message_data = program.value(message);
  program.point(message_data, offsetof(msghdr, msg_iov), io_data);
  program.point(message_data, offsetof(msghdr, msg_control), control_data);
  program.syscall("hand over the userfaultfd", SYS_sendmsg, {socket, message_data, 0});
  program.syscall("close the userfaultfd", SYS_close, {uffd});
}

}  // namespace faultline::restore
