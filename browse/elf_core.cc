#include "browse/elf_core.h"

#include <elf.h>

#include <algorithm>
#include <cstring>

#include "arch/core_notes.h"
#include "browse/elf_notes.h"

namespace faultline::browse {

namespace {

using Area = AddressSpace::Area;
using Run = AddressSpace::Run;

// No file can be longer; only images that lie have so much.
constexpr uint64_t kMaxSize = uint64_t{1} << 62;

// The head of the file: ELF header, program headers (the notes, then one per area), one section header if there are too many of those, notes.
uint64_t headers_size(size_t segments) {
  return sizeof(Elf64_Ehdr) + segments * sizeof(Elf64_Phdr) + (segments >= PN_XNUM ? sizeof(Elf64_Shdr) : 0);
}

Elf64_Ehdr elf_header(size_t segments) {
  Elf64_Ehdr h = {};
  std::memcpy(h.e_ident, ELFMAG, SELFMAG);
  h.e_ident[EI_CLASS] = ELFCLASS64;
  h.e_ident[EI_DATA] = ELFDATA2LSB;
  h.e_ident[EI_VERSION] = EV_CURRENT;
  h.e_type = ET_CORE;
  h.e_machine = arch::core_machine();
  h.e_version = EV_CURRENT;
  h.e_phoff = sizeof h;
  h.e_ehsize = sizeof h;
  h.e_phentsize = sizeof(Elf64_Phdr);
  h.e_phnum = static_cast<Elf64_Half>(std::min<size_t>(segments, PN_XNUM));
  if (segments < PN_XNUM) return h;
  h.e_shoff = sizeof h + segments * sizeof(Elf64_Phdr);
  h.e_shentsize = sizeof(Elf64_Shdr);
  h.e_shnum = 1;
  return h;
}

// Where PN_XNUM stands for the number of program headers, this one has it (elf(5)).
Elf64_Shdr count_header(size_t segments) {
  return {.sh_type = SHT_NULL, .sh_size = 1, .sh_info = static_cast<Elf64_Word>(segments)};
}

Elf64_Phdr area_header(const Area& area, uint64_t offset, uint64_t size) {
  const uint32_t prot = area.vma->prot;
  const uint32_t flags = (prot & 1 ? PF_R : 0) | (prot & 2 ? PF_W : 0) | (prot & 4 ? PF_X : 0);
  return {.p_type = PT_LOAD, .p_flags = flags, .p_offset = offset, .p_vaddr = area.vma->start, .p_paddr = 0, .p_filesz = size,
          .p_memsz = area.vma->end - area.vma->start, .p_align = kPageSize};
}

bool any_stored(const AddressSpace& memory, const Area& area) {
  for (Vaddr at = area.vma->start; at < area.vma->end;) {
    const Run run = memory.run_at(at, area.vma->end);
    if (run.kind == AddressSpace::Kind::kStored || run.kind == AddressSpace::Kind::kShared) return true;
    if (run.end <= at) return false;
    at = run.end;
  }
  return false;
}

bool begins_as_elf(const AddressSpace& memory, const Area& area) {
  char magic[SELFMAG] = {};
  if (area.vma->pgoff != 0) return false;
  const auto had = memory.read(area.vma->start, std::as_writable_bytes(std::span(magic)));
  return had && *had == sizeof magic && std::memcmp(magic, ELFMAG, SELFMAG) == 0;
}

// Without what lies behind the end of the mapped file: reading it kills a process.
uint64_t size_to_end_of_file(const AddressSpace& memory, const Area& area) {
  const uint64_t size = area.vma->end - area.vma->start;
  const uint64_t in_file = area.file ? page_up(std::max(area.file->size(), area.vma->pgoff) - area.vma->pgoff) : size;
  for (uint64_t at = in_file; at < size;) {
    const Run run = memory.run_at(area.vma->start + at, area.vma->end);
    if (run.kind != AddressSpace::Kind::kLost || run.end <= area.vma->start + at) return size;
    at = run.end - area.vma->start;
  }
  return std::min(in_file, size);
}

// How much of the area the core has.
uint64_t contents_of(const AddressSpace& memory, const Area& area) {
  const uint64_t size = size_to_end_of_file(memory, area);
  const uint32_t status = area.vma->status;
  if (status & (image::kVmaVsyscall | image::kVmaVvar)) return 0;
  const bool file = status & (image::kVmaFilePrivate | image::kVmaFileShared) && !(status & image::kVmaMemfd);
  if (!file && area.vma->prot != 0) return size;
  if (any_stored(memory, area)) return size;
  return file && begins_as_elf(memory, area) ? std::min<uint64_t>(size, kPageSize) : 0;
}

// Copies the part of `piece`, which stands at `at` in the file, that falls into [offset, offset + to.size()).
void copy_part(std::string_view piece, uint64_t at, uint64_t offset, std::span<std::byte> to) {
  const uint64_t begin = std::max(at, offset), end = std::min(at + piece.size(), offset + to.size());
  if (begin < end) std::memcpy(to.data() + (begin - offset), piece.data() + (begin - at), end - begin);
}

template <typename Header>
void copy_header(const Header& header, uint64_t at, uint64_t offset, std::span<std::byte> to) {
  copy_part({reinterpret_cast<const char*>(&header), sizeof header}, at, offset, to);
}

}  // namespace

Result<std::shared_ptr<const ElfCore>> ElfCore::make(Snapshot& snapshot, uint32_t pid) {
  const Snapshot::Process* process = snapshot.process(pid);
  if (!process) return error(ENOENT, "{} has no process {}", snapshot.name(), pid);
  std::shared_ptr<ElfCore> core(new ElfCore);
  core->memory_ = TRY(snapshot.memory(pid));
  core->notes_ = TRY(elf_notes(snapshot, *process, *core->memory_));
  core->lay_out();
  return std::shared_ptr<const ElfCore>(std::move(core));
}

void ElfCore::lay_out() {
  const auto areas = memory_->areas();
  notes_at_ = headers_size(areas.size() + 1);
  uint64_t at = page_up(notes_at_ + notes_.size());
  offsets_.reserve(areas.size() + 1);
  for (const Area& area : areas) {
    offsets_.push_back(at);
    const uint64_t size = page_up(contents_of(*memory_, area));
    if (size < kMaxSize - at) at += size;
  }
  offsets_.push_back(at);
}

size_t ElfCore::segment_at(uint64_t offset) const {
  return static_cast<size_t>(std::upper_bound(offsets_.begin(), offsets_.end(), offset) - offsets_.begin()) - 1;
}

void ElfCore::read_head(uint64_t offset, std::span<std::byte> to) const {
  std::memset(to.data(), 0, to.size());
  const auto areas = memory_->areas();
  const size_t segments = areas.size() + 1;
  copy_header(elf_header(segments), 0, offset, to);
  const auto place = [](size_t segment) { return sizeof(Elf64_Ehdr) + segment * sizeof(Elf64_Phdr); };
  const size_t first = offset < place(0) ? 0 : (offset - place(0)) / sizeof(Elf64_Phdr);
  for (size_t i = first; i < segments && place(i) < offset + to.size(); ++i) {
    if (i == 0) copy_header(Elf64_Phdr{.p_type = PT_NOTE, .p_offset = notes_at_, .p_filesz = notes_.size(), .p_align = 4}, place(0), offset, to);
    else copy_header(area_header(areas[i - 1], offsets_[i - 1], offsets_[i] - offsets_[i - 1]), place(i), offset, to);
  }
  if (segments >= PN_XNUM) copy_header(count_header(segments), place(segments), offset, to);
  copy_part(notes_, notes_at_, offset, to);
}

Result<size_t> ElfCore::read(uint64_t offset, std::span<std::byte> to) const {
  if (offset >= size()) return size_t{0};
  to = to.first(std::min<uint64_t>(to.size(), size() - offset));
  const size_t wanted = to.size();
  if (offset < offsets_.front() && wanted > 0) {
    const size_t part = std::min<uint64_t>(wanted, offsets_.front() - offset);
    read_head(offset, to.first(part));
    offset += part;
    to = to.subspan(part);
  }
  while (!to.empty()) {
    const size_t segment = segment_at(offset);
    const Vaddr at = memory_->areas()[segment].vma->start + (offset - offsets_[segment]);
    const size_t part = std::min<uint64_t>(to.size(), offsets_[segment + 1] - offset);
    const Run run = memory_->run_at(at, at + part);
    size_t done = run.end - at;
    if (run.has_data()) done = TRY(memory_->read(at, to.first(part)));
    else std::memset(to.data(), 0, done);
    if (done == 0) return error(EIO, "{:#x} cannot be read", at);
    offset += done;
    to = to.subspan(done);
  }
  return wanted;
}

uint64_t ElfCore::next(bool data, uint64_t offset) const {
  if (offset >= size()) return size();
  if (offset < offsets_.front()) {
    if (data) return offset;
    offset = offsets_.front();
  }
  while (offset < size()) {
    const size_t segment = segment_at(offset);
    const Vaddr start = memory_->areas()[segment].vma->start;
    const Vaddr limit = start + (offsets_[segment + 1] - offsets_[segment]);
    const Vaddr found = memory_->next(data, start + (offset - offsets_[segment]), limit);
    if (found < limit) return offsets_[segment] + (found - start);
    offset = offsets_[segment + 1];
  }
  return size();
}

Run ElfCore::run_at(uint64_t offset, uint64_t limit) const {
  limit = std::min(limit, size());
  if (offset >= limit) return {.start = offset, .end = offset, .kind = AddressSpace::Kind::kHole};
  if (offset < offsets_.front()) return {.start = offset, .end = std::min(limit, offsets_.front()), .kind = AddressSpace::Kind::kHole};
  const size_t segment = segment_at(offset);
  const Vaddr at = memory_->areas()[segment].vma->start + (offset - offsets_[segment]);
  const uint64_t part = std::min(limit, offsets_[segment + 1]) - offset;
  Run run = memory_->run_at(at, at + part);
  run.end = offset + (run.end - at);
  run.start = offset;
  return run;
}

}  // namespace faultline::browse
