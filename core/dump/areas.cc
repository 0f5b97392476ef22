#include "core/dump/areas.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <tuple>

namespace faultline::dump {

namespace {

using sys::Area;

struct Advice { const char* flag; int number; };
constexpr Advice kAdvice[] = {{"rr", MADV_RANDOM},   {"sr", MADV_SEQUENTIAL}, {"dc", MADV_DONTFORK}, {"mg", MADV_MERGEABLE},
                              {"hg", MADV_HUGEPAGE}, {"nh", MADV_NOHUGEPAGE}, {"dd", MADV_DONTDUMP}, {"wf", MADV_WIPEONFORK}};

Failure refuse(pid_t pid, const Area& area, const char* why) {
  return error(ENOTSUP, "pid {}: the area {:x}-{:x} {} cannot be checkpointed: {}", pid, area.start, area.end, area.name, why);
}

bool special(const Area& area) { return area.name == "[vdso]" || area.name == "[vsyscall]" || area.name.starts_with("[vvar"); }

// Reasons for which nothing can be done with an area; nullptr if there is none.
const char* unsupported(const Area& area) {
  if (area.has("ht")) return "huge pages of hugetlbfs are not supported yet";
  if (area.has("ss")) return "shadow stacks are not supported yet";
  if (area.has("um") || area.has("uw") || area.has("ui")) return "it is served by a userfaultfd (is the process still being restored lazily?)";
  if (area.name.starts_with("/SYSV")) return "System V shared memory is not supported yet";
  if (area.name.starts_with("/[aio]")) return "asynchronous I/O contexts (io_setup) are not supported yet";
  if (area.name.starts_with("anon_inode:")) return "it is a ring shared with the kernel (io_uring, perf, ...)";
  if (area.name.starts_with("socket:")) return "packet socket rings are not supported yet";
  if (area.name == "[uprobes]") return "uprobes are set in this process";
  if (area.name.starts_with("/secretmem")) return "it is secret memory (memfd_secret), which nobody else can read";
  if (area.has("sl")) return "it is sealed (mseal)";
  if (area.has("gu")) return "it holds, or held, guard pages (MADV_GUARD_INSTALL), which are not supported yet";
  // The kernel's own data pages for the vDSO have these flags too.
  if (!special(area) && (area.has("io") || area.has("pf"))) return "it is device memory";
  return nullptr;
}

uint32_t special_status(const Area& area) {
  if (area.name == "[vdso]") return image::kVmaRegular | image::kVmaVdso | image::kVmaAnonPrivate;
  if (area.name == "[vsyscall]") return image::kVmaVsyscall | image::kVmaAnonPrivate;
  return image::kVmaRegular | image::kVmaVvar | image::kVmaAnonPrivate;
}

uint32_t protection(const Area& area) {
  return (area.perms[0] == 'r' ? PROT_READ : 0) | (area.perms[1] == 'w' ? PROT_WRITE : 0) | (area.perms[2] == 'x' ? PROT_EXEC : 0);
}

class Collector {
 public:
  Collector(pid_t pid, objects::FileCollector& files) : pid_(pid), files_(files) {}

  Result<AddressSpace> run(const std::vector<Area>& areas) {
    for (const Area& area : areas) TRY(add(area));
    return std::move(out_);
  }

 private:
  Result<void> add(const Area& area) {
    if (const char* why = special(area) ? nullptr : unsupported(area)) return refuse(pid_, area, why);
    image::VmaEntry vma;
    vma.start = area.start;
    vma.end = area.end;
    vma.prot = protection(area);
    vma.fd = -1;
    const bool shared = area.perms[3] == 's';
    vma.flags = shared ? MAP_SHARED : MAP_PRIVATE;
    if (area.has("gd")) vma.flags |= MAP_GROWSDOWN;
    if (area.has("lo")) vma.flags |= MAP_LOCKED;
    if (area.has("nr")) vma.flags |= MAP_NORESERVE;
    uint64_t advice = 0;
    for (const Advice& a : kAdvice)
      if (area.has(a.flag)) advice |= uint64_t{1} << a.number;
    if (advice) vma.madv = advice;
    if (special(area)) {
      vma.status = special_status(area);
      vma.flags |= MAP_ANONYMOUS;
    } else if (area.inode == 0) {
      vma.status = image::kVmaRegular | image::kVmaAnonPrivate | (area.name == "[heap]" ? image::kVmaHeap : 0);
      vma.flags |= MAP_ANONYMOUS;
    } else {
      TRY(mapped_file(area, shared, vma));
    }
    note_contents(area, shared, vma);
    // The kernel shows the vDSO's data as several areas; they are one mapping.
    if (!out_.vmas.empty() && (vma.status & out_.vmas.back().status & image::kVmaVvar) && out_.vmas.back().end == vma.start) out_.vmas.back().end = vma.end;
    else out_.vmas.push_back(std::move(vma));
    return {};
  }

  Result<void> mapped_file(const Area& area, bool shared, image::VmaEntry& vma) {
    vma.pgoff = area.offset;
    const std::string link = fmt::format("/proc/{}/map_files/{:x}-{:x}", pid_, area.start, area.end);
    struct stat st;
    if (::lstat(link.c_str(), &st) < 0) return sys_error("pid {}: the mapped file {} cannot be examined ({})", pid_, area.name, link);
    const bool readable = st.st_mode & S_IRUSR, writable = st.st_mode & S_IWUSR;
    vma.fdflags = readable && writable ? O_RDWR : writable ? O_WRONLY : O_RDONLY;
    const bool memory = area.name.starts_with("/memfd:") || (area.name == "/dev/zero (deleted)" && area.major == 0);
    vma.status = image::kVmaRegular | (shared ? image::kVmaFileShared : image::kVmaFilePrivate) | (memory ? image::kVmaMemfd : 0);
    // Many areas are parts of one file.
    const auto key = std::tuple(area.major, area.minor, area.inode, area.name, *vma.fdflags);
    auto at = ids_.find(key);
    if (at == ids_.end()) {
      auto id = memory ? files_.shared_memory(link, *vma.fdflags) : files_.path_file(link, *vma.fdflags);
      if (!id) return wrap(id.error(), "pid {}: the area {:x}-{:x} of {}", pid_, area.start, area.end, area.name);
      at = ids_.emplace(key, *id).first;
    }
    vma.shmid = at->second;
    return {};
  }

  void note_contents(const Area& area, bool shared, const image::VmaEntry& vma) {
    if (shared || (vma.status & (image::kVmaVvar | image::kVmaVsyscall)) || area.has("dp")) return;
    const bool anonymous = vma.flags & MAP_ANONYMOUS;
    const bool lazy = anonymous && !(vma.status & image::kVmaVdso) && !(vma.flags & MAP_LOCKED);
    out_.ranges.push_back({area.start, area.end, !anonymous, lazy});
  }

  pid_t pid_;
  objects::FileCollector& files_;
  std::map<std::tuple<uint32_t, uint32_t, uint64_t, std::string, uint32_t>, uint32_t> ids_;
  AddressSpace out_;
};

}  // namespace

Result<AddressSpace> collect_areas(pid_t pid, sys::AreaReader& reader, objects::FileCollector& files) {
  return Collector(pid, files).run(TRY(reader.read(pid)));
}

}  // namespace faultline::dump
