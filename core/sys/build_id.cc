#include "core/sys/build_id.h"

#include <elf.h>
#include <unistd.h>

#include <cstring>
#include <string>

namespace faultline::sys {

namespace {

constexpr size_t kMaxSegments = 128, kMaxNotes = 64 << 10, kSearched = 1 << 20;

bool read_exactly(int fd, void* to, size_t size, uint64_t offset) {
  return ::pread(fd, to, size, static_cast<off_t>(offset)) == static_cast<ssize_t>(size);
}

std::vector<uint32_t> find_in(const std::string& notes) {
  const auto pad = [](size_t n) { return (n + 3) & ~size_t{3}; };
  Elf64_Nhdr note;
  for (size_t at = 0; at + sizeof note <= notes.size(); at += sizeof note + pad(note.n_namesz) + pad(note.n_descsz)) {
    std::memcpy(&note, notes.data() + at, sizeof note);
    const size_t desc = at + sizeof note + pad(note.n_namesz);
    if (note.n_namesz > notes.size() || note.n_descsz > notes.size() || desc + note.n_descsz > notes.size()) break;
    if (note.n_type != NT_GNU_BUILD_ID || note.n_namesz != 4 || std::memcmp(notes.data() + at + sizeof note, "GNU", 4) != 0) continue;
    std::vector<uint32_t> words(pad(note.n_descsz) / 4);
    std::memcpy(words.data(), notes.data() + desc, note.n_descsz);
    return words;
  }
  return {};
}

}  // namespace

std::vector<uint32_t> build_id_of(int fd) {
  Elf64_Ehdr head;
  if (!read_exactly(fd, &head, sizeof head, 0) || std::memcmp(head.e_ident, ELFMAG, SELFMAG) != 0 || head.e_ident[EI_CLASS] != ELFCLASS64 ||
      head.e_phentsize != sizeof(Elf64_Phdr) || head.e_phnum > kMaxSegments)
    return {};
  std::vector<Elf64_Phdr> segments(head.e_phnum);
  if (!read_exactly(fd, segments.data(), segments.size() * sizeof(Elf64_Phdr), head.e_phoff)) return {};
  for (const Elf64_Phdr& segment : segments) {
    if (segment.p_type != PT_NOTE || segment.p_filesz > kMaxNotes || segment.p_offset > kSearched) continue;
    std::string notes(segment.p_filesz, '\0');
    if (!read_exactly(fd, notes.data(), notes.size(), segment.p_offset)) continue;
    if (auto words = find_in(notes); !words.empty()) return words;
  }
  return {};
}

}  // namespace faultline::sys
