// The areas of a process: maps and smaps as the kernel writes them (fs/proc/task_mmu.c), and pagemap.json.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>

#include "browse/text/forms.h"
#include "browse/text/parts.h"

namespace faultline::browse {

namespace {

using Area = AddressSpace::Area;
using Kind = AddressSpace::Kind;

// The device of memory that is shared as a file: the first that the kernel gives to a mount of its own.
constexpr uint32_t kShmemMinor = 1;

// Tells device and inode of what is mapped. For the areas of one process: remembers what it has found.
class Identities {
 public:
  explicit Identities(Snapshot& snapshot) : snapshot_(snapshot) {}

  Identity of(const Area& area) {
    const image::VmaEntry& vma = *area.vma;
    if (vma.status & image::kVmaAnonShared) return {0, kShmemMinor, vma.shmid};
    if (!(vma.status & (image::kVmaFilePrivate | image::kVmaFileShared))) return {};
    const auto [at, fresh] = known_.try_emplace(static_cast<uint32_t>(vma.shmid));
    if (fresh) at->second = find(area);
    return at->second;
  }

 private:
  Identity find(const Area& area) {
    const auto id = static_cast<uint32_t>(area.vma->shmid);
    if (area.vma->status & image::kVmaMemfd) return {0, kShmemMinor, memfd_inode(id)};
    struct stat st;
    if (area.file && ::fstat(area.file->fd(), &st) == 0) return {major(st.st_dev), minor(st.st_dev), st.st_ino};
    return ghost_identity(snapshot_, id).value_or(Identity{});
  }

  uint64_t memfd_inode(uint32_t id) {
    const auto files = if_readable(snapshot_, snapshot_.files());
    if (!files || !(*files)->contains(id) || !(*files)->at(id).memfd) return 0;
    const auto memfds = if_readable(snapshot_, snapshot_.memfds());
    if (!memfds) return 0;
    const auto at = std::ranges::find((*memfds)->begin(), (*memfds)->end(), uint64_t{(*files)->at(id).memfd->inode_id}, &image::MemfdInodeEntry::inode_id);
    return at == (*memfds)->end() ? 0 : at->shmid;
  }

  Snapshot& snapshot_;
  std::map<uint32_t, Identity> known_;
};

void add_path(std::string& out, std::string_view path) {
  for (const char c : path) c == '\n' ? out += "\\012" : out += c;
}

void add_line(std::string& out, const Area& area, Identities& identities) {
  constexpr size_t kNameColumn = 72;
  const image::VmaEntry& vma = *area.vma;
  const Identity file = identities.of(area);
  const bool mapped = vma.status & (image::kVmaFilePrivate | image::kVmaFileShared | image::kVmaAnonShared);
  const size_t start = out.size();
  add(out, "{:08x}-{:08x} {}{}{}{} {:08x} {:02x}:{:02x} {} ", vma.start, vma.end, vma.prot & PROT_READ ? 'r' : '-', vma.prot & PROT_WRITE ? 'w' : '-',
      vma.prot & PROT_EXEC ? 'x' : '-', (vma.flags & MAP_TYPE) == MAP_SHARED ? 's' : 'p', mapped ? vma.pgoff : 0, file.major, file.minor, file.inode);
  if (!area.path.empty()) {
    if (out.size() < start + kNameColumn) out.resize(start + kNameColumn, ' ');
    out += ' ';
    add_path(out, area.path);
  }
  out += '\n';
}

struct Amounts {
  uint64_t stored = 0, shared = 0;  // bytes in the images
};

Amounts amounts_of(const AddressSpace& memory, const image::VmaEntry& vma) {
  Amounts amounts;
  for (Vaddr at = vma.start; at < vma.end;) {
    const AddressSpace::Run run = memory.run_at(at, vma.end);
    if (run.end <= at) break;
    if (run.kind == Kind::kStored) amounts.stored += run.end - at;
    if (run.kind == Kind::kShared) amounts.shared += run.end - at;
    at = run.end;
  }
  return amounts;
}

bool advised(const image::VmaEntry& vma, int advice) { return vma.madv.value_or(0) >> advice & 1; }

// The line VmFlags, in the kernel's order. Areas that were writable once keep "ac": only those that still are get it here.
std::string flags_of(const image::VmaEntry& vma) {
  if (vma.status & image::kVmaVsyscall) return vma.prot & PROT_READ ? "VmFlags: rd ex " : "VmFlags: ex ";
  const bool shared = (vma.flags & MAP_TYPE) == MAP_SHARED;
  const bool file = vma.status & (image::kVmaFilePrivate | image::kVmaFileShared);
  const bool vdso = vma.status & image::kVmaVdso, vvar = vma.status & image::kVmaVvar;
  const bool may_write = !vvar && !(shared && file && (vma.fdflags.value_or(O_RDWR) & O_ACCMODE) == O_RDONLY);
  const struct { bool set; const char* name; } kFlags[] = {
      {(vma.prot & PROT_READ) != 0, "rd"}, {(vma.prot & PROT_WRITE) != 0, "wr"}, {(vma.prot & PROT_EXEC) != 0, "ex"}, {shared && may_write, "sh"},
      {true, "mr"}, {may_write, "mw"}, {!vvar, "me"}, {shared, "ms"}, {(vma.flags & MAP_GROWSDOWN) != 0, "gd"}, {vvar, "pf"},
      {(vma.flags & MAP_LOCKED) != 0, "lo"}, {vvar, "io"}, {advised(vma, MADV_SEQUENTIAL), "sr"}, {advised(vma, MADV_RANDOM), "rr"},
      {advised(vma, MADV_DONTFORK), "dc"}, {vdso || vvar, "de"}, {!shared && (vma.prot & PROT_WRITE) && !(vma.flags & MAP_NORESERVE), "ac"},
      {(vma.flags & MAP_NORESERVE) != 0, "nr"}, {(vma.flags & MAP_HUGETLB) != 0, "ht"}, {advised(vma, MADV_WIPEONFORK), "wf"},
      {advised(vma, MADV_DONTDUMP) || vvar, "dd"}, {advised(vma, MADV_HUGEPAGE), "hg"}, {advised(vma, MADV_NOHUGEPAGE), "nh"}, {advised(vma, MADV_MERGEABLE), "mg"},
  };
  std::string out = "VmFlags: ";
  for (const auto& flag : kFlags)
    if (flag.set) (out += flag.name) += ' ';
  return out;
}

uint64_t page_size_of(const image::VmaEntry& vma) {
  if (!(vma.flags & MAP_HUGETLB)) return kPageSize;
  const uint32_t bits = vma.flags >> MAP_HUGE_SHIFT & MAP_HUGE_MASK;
  return uint64_t{1} << (bits ? bits : 21);
}

void add_amounts(std::string& out, const AddressSpace& memory, const image::VmaEntry& vma) {
  const Amounts bytes = vma.status & image::kVmaVsyscall ? Amounts{} : amounts_of(memory, vma);
  const uint64_t all = bytes.stored + bytes.shared;
  const bool locked = vma.flags & MAP_LOCKED;
  const struct { const char* name; uint64_t bytes; } kLines[] = {
      {"Size:", vma.end - vma.start}, {"KernelPageSize:", page_size_of(vma)}, {"MMUPageSize:", page_size_of(vma)}, {"Rss:", all}, {"Pss:", all},
      {"Pss_Dirty:", all}, {"Shared_Clean:", 0}, {"Shared_Dirty:", bytes.shared}, {"Private_Clean:", 0}, {"Private_Dirty:", bytes.stored},
      {"Referenced:", all}, {"Anonymous:", bytes.stored}, {"KSM:", 0}, {"LazyFree:", 0}, {"AnonHugePages:", 0}, {"ShmemPmdMapped:", 0},
      {"FilePmdMapped:", 0}, {"Shared_Hugetlb:", 0}, {"Private_Hugetlb:", 0}, {"Swap:", 0}, {"SwapPss:", 0}, {"Locked:", locked ? all : 0},
  };
  for (const auto& line : kLines) add(out, "{:<16}{:>8} kB\n", line.name, line.bytes >> 10);
  add(out, "{:<16}{:>8}\n{}\n", "THPeligible:", 0, flags_of(vma));
}

}  // namespace

Usage usage_of(const AddressSpace& memory) {
  Usage usage;
  const image::MmEntry& mm = memory.mm();
  uint64_t code = 0;
  for (const Area& area : memory.areas()) {
    const image::VmaEntry& vma = *area.vma;
    if (vma.status & image::kVmaVsyscall) continue;  // the kernel's own, not counted
    const uint64_t size = vma.end - vma.start;
    const bool write = vma.prot & PROT_WRITE, stack = vma.flags & MAP_GROWSDOWN, shared = (vma.flags & MAP_TYPE) == MAP_SHARED;
    usage.size += size;
    if (vma.flags & MAP_LOCKED) usage.locked += size;
    if (stack) usage.stack += size;
    else if (write && !shared) usage.data += size;
    else if (!write && vma.prot & PROT_EXEC) code += size;
    const Amounts amounts = amounts_of(memory, vma);
    usage.stored += amounts.stored;
    usage.shared += amounts.shared;
  }
  const uint64_t start = page_down(mm.mm_start_code), end = page_up(mm.mm_end_code);
  usage.text = std::min(end > start ? end - start : 0, code);
  usage.libraries = code - usage.text;
  return usage;
}

Result<std::string> maps_text(Snapshot& snapshot, const Process& process) {
  std::string out;
  if (TRY(thread_state(snapshot, process, process.pid)).dead()) return out;
  const auto memory = TRY(snapshot.memory(process.pid));
  Identities identities(snapshot);
  for (const Area& area : memory->areas()) add_line(out, area, identities);
  return out;
}

Result<std::string> smaps_text(Snapshot& snapshot, const Process& process) {
  std::string out;
  if (TRY(thread_state(snapshot, process, process.pid)).dead()) return out;
  const auto memory = TRY(snapshot.memory(process.pid));
  Identities identities(snapshot);
  for (const Area& area : memory->areas()) {
    add_line(out, area, identities);
    add_amounts(out, *memory, *area.vma);
  }
  return out;
}

Result<std::string> statm_text(Snapshot& snapshot, const Process& process) {
  if (TRY(thread_state(snapshot, process, process.pid)).dead()) return std::string("0 0 0 0 0 0 0\n");
  const auto memory = TRY(snapshot.memory(process.pid));
  const Usage usage = usage_of(*memory);
  return fmt::format("{} {} {} {} 0 {} 0\n", usage.size / kPageSize, usage.resident() / kPageSize, usage.shared / kPageSize, usage.text / kPageSize,
                     (usage.data + usage.stack) / kPageSize);
}

// One object per run of pages that are not zero, in a line of its own; runs of unchanged files are left out, as are zeros.
Result<std::string> pagemap_text(Snapshot& snapshot, const Process& process) {
  std::string out = "[";
  if (!TRY(thread_state(snapshot, process, process.pid)).dead()) {
    const auto memory = TRY(snapshot.memory(process.pid));
    const char* separator = "\n";
    for (const Area& area : memory->areas())
      for (Vaddr at = area.vma->start; at < area.vma->end;) {
        const AddressSpace::Run run = memory->run_at(at, area.vma->end);
        if (run.end <= at) break;
        at = run.end;
        if (run.kind != Kind::kStored && run.kind != Kind::kShared && run.kind != Kind::kLost) continue;
        const char* kind = run.kind == Kind::kStored ? "stored" : run.kind == Kind::kShared ? "shared" : "lost";
        add(out, "{}{{\"start\": \"0x{:x}\", \"end\": \"0x{:x}\", \"pages\": {}, \"kind\": \"{}\"}}", separator, run.start, run.end, (run.end - run.start) / kPageSize, kind);
        separator = ",\n";
      }
  }
  return out + "\n]\n";
}

}  // namespace faultline::browse
