// Core files: of a checkpoint by CRIU 4.2, of one with very many areas, of one with pages that are lost.
#include "browse/elf_core.h"

#include <elf.h>
#include <sys/procfs.h>
#include <sys/user.h>

#include <catch2/catch.hpp>
#include <cstring>
#include <filesystem>

#include "core/image/scratch_dir.h"

using namespace faultline;
using namespace faultline::browse;
namespace fs = std::filesystem;

namespace {

constexpr const char* kImages = GOLDEN_DIR "/criu-4.2-zoo/images";
// What the program printed about itself (zoo.facts).
constexpr uint32_t kPid = 1736, kZombie = 1741;
constexpr Vaddr kSecret = 0x560305fc2000, kPrivate = 0x7f04bc2c8000, kSharedMemory = 0x7f04bc4f3000;

struct Note {
  std::string name;
  uint32_t type;
  std::string bytes;
};

// A core as a debugger takes it apart.
struct View {
  std::shared_ptr<const ElfCore> core;
  Elf64_Ehdr header = {};
  std::vector<Elf64_Phdr> segments;
  std::vector<Note> notes;

  std::string bytes(uint64_t offset, size_t size) const {
    std::string out(size, '\0');
    auto n = core->read(offset, std::as_writable_bytes(std::span(out)));
    REQUIRE(n);
    REQUIRE(*n == size);
    return out;
  }
  template <typename T>
  T get(uint64_t offset) const {
    T value;
    std::memcpy(&value, bytes(offset, sizeof value).data(), sizeof value);
    return value;
  }
  const Elf64_Phdr* segment_of(Vaddr at) const {
    for (const Elf64_Phdr& s : segments)
      if (s.p_type == PT_LOAD && s.p_vaddr <= at && at < s.p_vaddr + s.p_filesz) return &s;
    return nullptr;
  }
  std::string text_at(Vaddr at) const {
    const Elf64_Phdr* segment = segment_of(at);
    REQUIRE(segment);
    return bytes(segment->p_offset + (at - segment->p_vaddr), 64).c_str();
  }
  const Note* note(uint32_t type) const {
    const auto found = std::ranges::find(notes, type, &Note::type);
    return found == notes.end() ? nullptr : &*found;
  }
};

void take_notes(View& view, const Elf64_Phdr& segment) {
  const std::string all = view.bytes(segment.p_offset, segment.p_filesz);
  for (size_t at = 0; at + sizeof(Elf64_Nhdr) <= all.size();) {
    Elf64_Nhdr head;
    std::memcpy(&head, all.data() + at, sizeof head);
    at += sizeof head;
    const size_t name = (head.n_namesz + 3) / 4 * 4, bytes = (head.n_descsz + 3) / 4 * 4;
    REQUIRE(at + name + bytes <= all.size());
    view.notes.push_back({all.substr(at, head.n_namesz - 1), head.n_type, all.substr(at + name, head.n_descsz)});
    at += name + bytes;
  }
}

View look(Snapshot& snapshot, uint32_t pid) {
  auto core = ElfCore::make(snapshot, pid);
  REQUIRE(core);
  View view{.core = std::move(*core)};
  view.header = view.get<Elf64_Ehdr>(0);
  size_t count = view.header.e_phnum;
  if (count == PN_XNUM) count = view.get<Elf64_Shdr>(view.header.e_shoff).sh_info;
  view.segments.resize(count);
  const std::string table = view.bytes(view.header.e_phoff, count * sizeof(Elf64_Phdr));
  std::memcpy(view.segments.data(), table.data(), table.size());
  for (const Elf64_Phdr& segment : view.segments)
    if (segment.p_type == PT_NOTE) take_notes(view, segment);
  return view;
}

std::unique_ptr<Snapshot> open(const std::string& path) {
  auto images = images_in(path);
  REQUIRE(images);
  auto snapshot = Snapshot::open(std::move(*images));
  REQUIRE(snapshot);
  return std::move(*snapshot);
}

// A copy of the images that CRIU wrote, to be changed.
void copy_images(const fs::path& to) {
  for (const auto& file : fs::directory_iterator(kImages)) fs::copy_file(file.path(), to / file.path().filename());
}

elf_prstatus status_of(const Note& note) {
  elf_prstatus status;
  REQUIRE(note.bytes.size() == sizeof status);
  std::memcpy(&status, note.bytes.data(), sizeof status);
  return status;
}

}  // namespace

TEST_CASE("the notes tell threads, registers and files") {
  auto snapshot = open(kImages);
  const View view = look(*snapshot, kPid);
  CHECK(std::memcmp(view.header.e_ident, ELFMAG, SELFMAG) == 0);
  CHECK(view.header.e_type == ET_CORE);
  std::vector<pid_t> tids;
  for (const Note& note : view.notes) {
    if (note.type != NT_PRSTATUS) continue;
    const elf_prstatus status = status_of(note);
    tids.push_back(status.pr_pid);
    const auto core = snapshot->core(static_cast<uint32_t>(status.pr_pid));
    REQUIRE(core);
    user_regs_struct registers;
    std::memcpy(&registers, &status.pr_reg, sizeof registers);
    CHECK(registers.rip == (*core)->thread_info->gpregs.ip);
    CHECK(registers.rsp == (*core)->thread_info->gpregs.sp);
    CHECK(registers.fs_base == (*core)->thread_info->gpregs.fs_base);
  }
  REQUIRE(tids.size() == 4);
  CHECK(tids[0] == static_cast<pid_t>(kPid));
  CHECK(view.notes[0].type == NT_PRSTATUS);
  for (const uint32_t type : {NT_PRFPREG, NT_X86_XSTATE})
    CHECK(std::ranges::count(view.notes, type, &Note::type) == 4);
  REQUIRE(view.note(NT_X86_XSTATE));
  CHECK(view.note(NT_X86_XSTATE)->name == "LINUX");
  const auto leader = snapshot->core(kPid);
  REQUIRE(leader);
  const image::UserX86FpregsEntry& fp = (*leader)->thread_info->fpregs;
  const std::string& state = view.note(NT_X86_XSTATE)->bytes;
  REQUIRE(fp.xsave);
  REQUIRE(fp.xsave->ymmh_space.size() == 64);
  REQUIRE(state.size() >= 832);
  CHECK(std::memcmp(state.data() + 160, fp.xmm_space.data(), 256) == 0);
  CHECK(std::memcmp(state.data() + 576, fp.xsave->ymmh_space.data(), 256) == 0);
  uint64_t mask = 0;
  std::memcpy(&mask, state.data() + 464, sizeof mask);
  CHECK((mask & 7) == 7);
  const auto memory = snapshot->memory(kPid);
  REQUIRE(memory);
  const auto& auxv = (*memory)->mm().mm_saved_auxv;
  REQUIRE(view.note(NT_AUXV));
  REQUIRE(view.note(NT_AUXV)->bytes.size() == auxv.size() * 8);
  CHECK(std::memcmp(view.note(NT_AUXV)->bytes.data(), auxv.data(), auxv.size() * 8) == 0);
  REQUIRE(view.note(NT_FILE));
  CHECK(image::has(view.note(NT_FILE)->bytes, "/zoo"));
  REQUIRE(view.note(NT_PRPSINFO));
  CHECK(image::has(view.note(NT_PRPSINFO)->bytes, "zoo"));
}

TEST_CASE("one segment per area, with what the process had there") {
  auto snapshot = open(kImages);
  const View view = look(*snapshot, kPid);
  const auto memory = snapshot->memory(kPid);
  REQUIRE(memory);
  const auto areas = (*memory)->areas();
  REQUIRE(view.segments.size() == areas.size() + 1);
  uint64_t end = 0;
  for (size_t i = 0; i < areas.size(); ++i) {
    const Elf64_Phdr& segment = view.segments[i + 1];
    CHECK(segment.p_type == PT_LOAD);
    CHECK(segment.p_vaddr == areas[i].vma->start);
    CHECK(segment.p_memsz == areas[i].vma->end - areas[i].vma->start);
    CHECK(segment.p_filesz <= segment.p_memsz);
    CHECK(segment.p_offset % kPageSize == 0);
    CHECK(segment.p_flags == ((areas[i].vma->prot & 1 ? PF_R : 0u) | (areas[i].vma->prot & 2 ? PF_W : 0u) | (areas[i].vma->prot & 4 ? PF_X : 0u)));
    end = std::max(end, segment.p_offset + segment.p_filesz);
  }
  CHECK(view.core->size() == end);
  CHECK(view.text_at(kSecret) == "the first page holds this sentence");
  CHECK(view.text_at(kPrivate + 2 * kPageSize) == "private page 2");
  CHECK(view.text_at(kSharedMemory + kPageSize) == "shared between parent and child");
  // The executable of that machine is not here; what the process changed of it is.
  CHECK(view.text_at(kPrivate + kPageSize).empty());
}

TEST_CASE("holes and runs agree with what is read") {
  auto snapshot = open(kImages);
  const View view = look(*snapshot, kPid);
  const ElfCore& core = *view.core;
  CHECK(core.next(true, 0) == 0);
  CHECK(core.next(true, core.size()) == core.size());
  std::byte byte;
  const auto behind = core.read(core.size(), std::span(&byte, 1));
  REQUIRE(behind);
  CHECK(*behind == 0);
  uint64_t holes = 0, spliced = 0;
  for (uint64_t at = 0; at < core.size();) {
    const AddressSpace::Run run = core.run_at(at, core.size());
    REQUIRE(run.start == at);
    REQUIRE(run.end > at);
    const size_t size = static_cast<size_t>(run.end - at);
    if (run.kind == AddressSpace::Kind::kZero) {
      holes += size;
      CHECK(view.bytes(at, size).find_first_not_of('\0') == std::string::npos);
      CHECK(core.next(false, at) == at);
      CHECK(core.next(true, at) >= run.end);
    } else {
      CHECK(core.next(true, at) == at);
    }
    if (run.kind == AddressSpace::Kind::kStored) {
      spliced += size;
      std::string direct(size, '\0');
      REQUIRE(run.pages->read(run.extent, run.extent.vaddr, std::as_writable_bytes(std::span(direct))));
      CHECK(direct == view.bytes(at, size));
    }
    at = run.end;
  }
  CHECK(holes > 0);
  CHECK(spliced >= 32 * kPageSize);
}

TEST_CASE("a thread without registers is left out, a process without memory has no core") {
  image::ScratchDir scratch;
  copy_images(scratch.path());
  scratch.write("core-1738.img", "damaged");
  auto snapshot = open(scratch.path());
  const View view = look(*snapshot, kPid);
  CHECK(std::ranges::count(view.notes, uint32_t{NT_PRSTATUS}, &Note::type) == 3);
  CHECK_FALSE(ElfCore::make(*snapshot, kZombie));
  const auto nobody = ElfCore::make(*snapshot, 4711);
  REQUIRE_FALSE(nobody);
  CHECK(nobody.error().code == ENOENT);
  for (const char* file : {"core-1736.img", "core-1739.img", "core-1740.img"}) scratch.write(file, "damaged");
  auto without = open(scratch.path());
  const auto none = ElfCore::make(*without, kPid);
  REQUIRE_FALSE(none);
  CHECK(none.error().code == EBADMSG);
}

TEST_CASE("pages that are lost are an error, the others are there") {
  image::ScratchDir scratch;
  copy_images(scratch.path());
  fs::resize_file(scratch.path() / "pages-3.img", 8 * kPageSize);
  auto snapshot = open(scratch.path());
  const View view = look(*snapshot, kPid);
  size_t lost = 0, there = 0;
  for (const Elf64_Phdr& segment : view.segments)
    for (uint64_t at = 0; segment.p_type == PT_LOAD && at < segment.p_filesz; at += kPageSize) {
      std::string page(kPageSize, '\0');
      const auto n = view.core->read(segment.p_offset + at, std::as_writable_bytes(std::span(page)));
      ++(n ? there : lost);
      if (!n) CHECK(n.error().code == EIO);
    }
  CHECK(lost > 0);
  CHECK(there > 0);
}

TEST_CASE("a hundred thousand areas") {
  image::ScratchDir scratch;
  copy_images(scratch.path());
  const size_t count = 100'000;
  image::MmEntry mm;
  for (size_t i = 0; i < count; ++i) {
    image::VmaEntry vma;
    vma.start = 0x10000 + i * 2 * kPageSize;
    vma.end = vma.start + kPageSize;
    vma.prot = 3;
    vma.flags = 0x22;
    vma.status = image::kVmaRegular | image::kVmaAnonPrivate;
    vma.fd = -1;
    mm.vmas.push_back(vma);
  }
  REQUIRE(image::write_one(scratch.dir(), "mm-1736.img", image::kMm, mm));
  fs::remove(scratch.path() / "pagemap-1736.img");
  auto snapshot = open(scratch.path());
  const View view = look(*snapshot, kPid);
  CHECK(view.header.e_phnum == PN_XNUM);
  REQUIRE(view.segments.size() == count + 1);
  CHECK(view.segments[count].p_vaddr == mm.vmas.back().start);
  // Read in odd pieces it is the same.
  const size_t head = static_cast<size_t>(view.segments[1].p_offset);
  const std::string whole = view.bytes(0, head);
  std::string pieces;
  while (pieces.size() < head) pieces += view.bytes(pieces.size(), std::min<size_t>(4093, head - pieces.size()));
  CHECK(pieces == whole);
}
