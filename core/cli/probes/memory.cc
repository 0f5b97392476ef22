#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/io_uring.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <linux/prctl.h>
#include <unistd.h>

#include <cstring>

#include "core/base/mapping.h"
#include "core/base/unique_fd.h"
#include "core/cli/probes/child.h"
#include "core/cli/probes/probes.h"
#include "core/sys/area_reader.h"
#include "core/sys/kernel.h"
#include "core/sys/proc.h"

namespace faultline::cli::probe {

namespace {

// A userfaultfd with these features.
Result<UniqueFd> open_uffd(uint64_t features, const char* what) {
  UniqueFd fd(static_cast<int>(syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK)));
  if (!fd) return sys_error("userfaultfd(2)");
  uffdio_api api = {};
  api.api = UFFD_API;
  api.features = features;
  if (ioctl(fd.get(), UFFDIO_API, &api) < 0) return sys_error("userfaultfd with {}", what);
  return fd;
}

Result<Mapping> anonymous_page() { return Mapping::map(kPageSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0, "a page to try it on"); }

Result<void> register_page(int uffd, const Mapping& page, uint64_t mode, const char* what) {
  uffdio_register reg = {};
  reg.range = {reinterpret_cast<uint64_t>(page.data()), page.size()};
  reg.mode = mode;
  if (ioctl(uffd, UFFDIO_REGISTER, &reg) < 0) return sys_error("registering {} with userfaultfd", what);
  return {};
}

Result<Mapping> shared_page() {
  UniqueFd memfd(memfd_create("faultline-check", MFD_CLOEXEC));
  if (!memfd) return sys_error("memfd_create(2)");
  if (ftruncate(memfd.get(), kPageSize) < 0) return sys_error("cannot size a memfd");
  return Mapping::map(kPageSize, PROT_READ | PROT_WRITE, MAP_SHARED, memfd.get(), 0, "a shared page to try it on");
}

// Asks PAGEMAP_SCAN about one page that is present.
Result<void> scan(uint64_t mask, uint64_t flags, const Mapping& page, const char* what) {
  UniqueFd pagemap(::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
  if (!pagemap) return sys_error("cannot open /proc/self/pagemap");
  page.data()[0] = std::byte(1);
  page_region region = {};
  pm_scan_arg arg = {};
  arg.size = sizeof arg;
  arg.flags = flags;
  arg.start = reinterpret_cast<uint64_t>(page.data());
  arg.end = arg.start + page.size();
  arg.vec = reinterpret_cast<uint64_t>(&region);
  arg.vec_len = 1;
  arg.category_anyof_mask = mask;
  arg.return_mask = mask;
  if (ioctl(pagemap.get(), PAGEMAP_SCAN, &arg) < 0) return sys_error("the PAGEMAP_SCAN ioctl {}", what);
  return {};
}

Result<sys::Area> own_area(uint64_t address) {
  for (sys::Area& area : TRY(sys::read_maps(getpid())))
    if (area.start <= address && address < area.end) return std::move(area);
  return error(ENOENT, "an area of this process is not in /proc/self/maps");
}

// Inside a mount namespace of its own: is a file on overlayfs the same file in /proc/PID/maps as for stat(2)?
Result<void> compare_overlay_maps() {
  // A tmpfs hides whatever stands at this place; it is gone with the namespace.
  if (mount("faultline", "/tmp", "tmpfs", 0, nullptr) < 0) return sys_error("cannot mount a tmpfs to try it on");
  for (const char* dir : {"/tmp/lower", "/tmp/upper", "/tmp/work", "/tmp/merged"})
    if (mkdir(dir, 0700) < 0) return sys_error("cannot make the directory {}", dir);
  const char* options = "lowerdir=/tmp/lower,upperdir=/tmp/upper,workdir=/tmp/work";
  if (mount("overlay", "/tmp/merged", "overlay", 0, options) < 0) return sys_error("cannot mount an overlay");
  UniqueFd fd(::open("/tmp/merged/file", O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  struct stat st;
  if (!fd || ftruncate(fd.get(), kPageSize) < 0 || fstat(fd.get(), &st) < 0) return sys_error("cannot make a file on an overlay");
  const Mapping page = TRY(Mapping::map(kPageSize, PROT_READ, MAP_PRIVATE, fd.get(), 0, "a file on an overlay"));
  const sys::Area line = TRY(own_area(reinterpret_cast<uint64_t>(page.data())));
  if (makedev(line.major, line.minor) != st.st_dev || line.inode != st.st_ino)
    return error(ENOTSUP, "/proc/PID/maps names another device or inode than stat(2) for files on an overlay");
  return {};
}

}  // namespace

Result<void> uffd() {
  const UniqueFd fd = TRY(open_uffd(0, "no features"));
  const Mapping page = TRY(anonymous_page());
  return register_page(fd.get(), page, UFFDIO_REGISTER_MODE_MISSING, "private memory");
}

Result<void> uffd_noncoop() {
  TRY(open_uffd(UFFD_FEATURE_EVENT_FORK | UFFD_FEATURE_EVENT_REMAP | UFFD_FEATURE_EVENT_REMOVE | UFFD_FEATURE_EVENT_UNMAP,
                "the events fork, remap, remove and unmap"));
  return {};
}

Result<void> uffd_shmem() {
  const UniqueFd fd = TRY(open_uffd(UFFD_FEATURE_MISSING_SHMEM, "shared memory"));
  const Mapping page = TRY(shared_page());
  return register_page(fd.get(), page, UFFDIO_REGISTER_MODE_MISSING, "shared memory");
}

Result<void> uffd_minor() {
  const UniqueFd fd = TRY(open_uffd(UFFD_FEATURE_MINOR_SHMEM, "minor faults of shared memory"));
  const Mapping page = TRY(shared_page());
  return register_page(fd.get(), page, UFFDIO_REGISTER_MODE_MINOR, "shared memory for minor faults");
}

Result<void> uffd_wp() {
  const UniqueFd fd = TRY(open_uffd(UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED, "asynchronous write protection"));
  const Mapping page = TRY(anonymous_page());
  return register_page(fd.get(), page, UFFDIO_REGISTER_MODE_WP, "memory for write protection");
}

Result<void> pagemap_scan() {
  const Mapping page = TRY(anonymous_page());
  return scan(PAGE_IS_PRESENT | PAGE_IS_SWAPPED, 0, page, "on /proc/self/pagemap");
}

Result<void> pagemap_scan_guard_pages() {
  const Mapping page = TRY(anonymous_page());
  return scan(PAGE_IS_GUARD, 0, page, "for guard pages");
}

Result<void> mem_dirty_track() {
  const UniqueFd fd = TRY(open_uffd(UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED, "asynchronous write protection"));
  const Mapping page = TRY(anonymous_page());
  TRY(register_page(fd.get(), page, UFFDIO_REGISTER_MODE_WP, "memory for write protection"));
  return scan(PAGE_IS_WRITTEN, PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC, page, "for written pages");
}

Result<void> aio_remap() {
  aio_context_t context = 0;
  if (syscall(SYS_io_setup, 1, &context) < 0) return sys_error("io_setup(2)");
  // The kernel must follow a ring that is moved: its address is the context's name.
  auto area = own_area(context);
  Result<void> result;
  if (!area) {
    result = Failure(area.error());
  } else {
    const size_t size = area->end - area->start;
    void* moved = mmap(nullptr, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    moved = mremap(reinterpret_cast<void*>(area->start), size, size, MREMAP_MAYMOVE | MREMAP_FIXED, moved);
    if (moved == MAP_FAILED) {
      result = sys_error("moving the ring of an aio context");
    } else {
      context = reinterpret_cast<aio_context_t>(moved);
      timespec no_wait = {};
      io_event event;
      if (syscall(SYS_io_getevents, context, 0, 1, &event, &no_wait) < 0) result = sys_error("using an aio context after its ring was moved");
    }
  }
  syscall(SYS_io_destroy, context);
  return result;
}

Result<void> memfd_hugetlb() {
  UniqueFd fd(memfd_create("faultline-check", MFD_CLOEXEC | MFD_HUGETLB));
  if (!fd) return sys_error("memfd_create(2) with MFD_HUGETLB");
  return {};
}

Result<void> map_files() {
  UniqueFd self(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
  if (!self) return sys_error("cannot open /proc/self/exe");
  const Mapping page = TRY(Mapping::map(kPageSize, PROT_READ, MAP_PRIVATE, self.get(), 0, "this program"));
  const uint64_t start = reinterpret_cast<uint64_t>(page.data());
  const sys::Area line = TRY(own_area(start));
  const std::string name = fmt::format("/proc/self/map_files/{:x}-{:x}", line.start, line.end);
  if (!UniqueFd(::open(name.c_str(), O_RDONLY | O_CLOEXEC))) return sys_error("opening an area's file through /proc/PID/map_files");
  return {};
}

Result<void> area_flags() {
  TRY(sys::AreaReader().read_by_iterator(getpid()));
  return {};
}

Result<void> overlayfs_maps() { return in_child(CLONE_NEWNS, compare_overlay_maps); }

Result<void> set_mm_map() {
  unsigned size = 0;
  if (prctl(PR_SET_MM, PR_SET_MM_MAP_SIZE, &size, 0, 0) < 0) return sys_error("prctl(PR_SET_MM, PR_SET_MM_MAP_SIZE)");
  if (size != sizeof(prctl_mm_map)) return error(ENOTSUP, "the kernel's prctl_mm_map has {} bytes, this program's {}", size, sizeof(prctl_mm_map));
  return {};
}

Result<void> process_vm_readv() {
  const uint64_t secret = 0x6661756c746c696e;
  const Sleeper child = TRY(Sleeper::make());
  uint64_t copy = 0;
  iovec local = {&copy, sizeof copy};
  iovec remote = {const_cast<uint64_t*>(&secret), sizeof secret};
  if (::process_vm_readv(child.pid(), &local, 1, &remote, 1, 0) != sizeof copy) return sys_error("process_vm_readv(2) of a child");
  if (copy != secret) return error(EIO, "process_vm_readv(2) read something else than what is there");
  return {};
}

Result<void> io_uring() {
  io_uring_params params = {};
  UniqueFd ring(static_cast<int>(syscall(SYS_io_uring_setup, 4, &params)));
  if (!ring) return sys_error("io_uring_setup(2)");
  return {};
}

}  // namespace faultline::cli::probe
