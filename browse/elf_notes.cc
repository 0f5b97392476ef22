#include "browse/elf_notes.h"

#include <elf.h>
#include <sys/procfs.h>

#include <algorithm>
#include <cstring>

#include "arch/core_notes.h"

namespace faultline::browse {

namespace {

void append_padded(std::string& to, std::string_view bytes) {
  to += bytes;
  to.resize((to.size() + 3) / 4 * 4);
}

void append_note(std::string& to, std::string_view name, uint32_t type, std::string_view bytes) {
  const Elf64_Nhdr head = {.n_namesz = static_cast<Elf64_Word>(name.size() + 1), .n_descsz = static_cast<Elf64_Word>(bytes.size()), .n_type = type};
  to.append(reinterpret_cast<const char*>(&head), sizeof head);
  append_padded(to, std::string(name) + '\0');
  append_padded(to, bytes);
}

template <typename T>
std::string_view bytes_of(const T& value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

// Pending signals as the bits of a set; of each only the number counts (siginfo begins with it).
uint64_t signals_of(const std::optional<image::SignalQueueEntry>& queue) {
  uint64_t set = 0;
  if (!queue) return set;
  for (const image::SiginfoEntry& entry : queue->signals) {
    int32_t number = 0;
    if (entry.siginfo.size() >= sizeof number) std::memcpy(&number, entry.siginfo.data(), sizeof number);
    if (number >= 1 && number <= 64) set |= uint64_t{1} << (number - 1);
  }
  return set;
}

std::string status_note(const Snapshot::Process& process, uint32_t tid, const image::CoreEntry& core, const arch::CoreNotes& notes) {
  elf_prstatus status = {};
  status.pr_pid = static_cast<pid_t>(tid);
  status.pr_ppid = static_cast<pid_t>(process.ppid);
  status.pr_pgrp = static_cast<pid_t>(process.pgid);
  status.pr_sid = static_cast<pid_t>(process.sid);
  if (core.thread_core) {
    status.pr_sigpend = signals_of(core.thread_core->signals_p);
    if (core.thread_core->blk_sigset) status.pr_sighold = *core.thread_core->blk_sigset;
  }
  if (core.tc) status.pr_sighold = core.tc->blk_sigset;
  std::memcpy(&status.pr_reg, &notes.general, sizeof status.pr_reg);
  status.pr_fpvalid = !notes.others.empty();
  return std::string(bytes_of(status));
}

std::string arguments_of(const AddressSpace& memory) {
  const image::MmEntry& mm = memory.mm();
  std::string text(std::min<uint64_t>(mm.mm_arg_end > mm.mm_arg_start ? mm.mm_arg_end - mm.mm_arg_start : 0, ELF_PRARGSZ - 1), '\0');
  const auto had = memory.read(mm.mm_arg_start, std::as_writable_bytes(std::span(text)));
  text.resize(had ? *had : 0);
  std::replace(text.begin(), text.end(), '\0', ' ');
  while (!text.empty() && text.back() == ' ') text.pop_back();
  return text;
}

std::string process_note(const Snapshot::Process& process, const image::CoreEntry* leader, const AddressSpace& memory) {
  elf_prpsinfo info = {};
  const bool stopped = leader && leader->tc && leader->tc->task_state == image::kTaskStopped;
  info.pr_sname = stopped ? 'T' : 'S';
  info.pr_state = stopped ? 3 : 1;  // the number of that letter in "RSDTZW"
  info.pr_pid = static_cast<pid_t>(process.pid);
  info.pr_ppid = static_cast<pid_t>(process.ppid);
  info.pr_pgrp = static_cast<pid_t>(process.pgid);
  info.pr_sid = static_cast<pid_t>(process.sid);
  if (leader && leader->thread_core) {
    info.pr_nice = static_cast<char>(leader->thread_core->sched_nice.value_or(0));
    if (const auto& creds = leader->thread_core->creds) info.pr_uid = creds->uid, info.pr_gid = creds->gid;
  }
  if (leader && leader->tc) {
    info.pr_flag = leader->tc->flags;
    leader->tc->comm.copy(info.pr_fname, sizeof info.pr_fname - 1);
  }
  arguments_of(memory).copy(info.pr_psargs, sizeof info.pr_psargs - 1);
  return std::string(bytes_of(info));
}

// Which file is mapped where: a count, the unit of offsets, then three words per area; then the names.
std::string files_note(const AddressSpace& memory) {
  std::vector<uint64_t> words = {0, kPageSize};
  std::string names;
  for (const AddressSpace::Area& area : memory.areas()) {
    const uint32_t status = area.vma->status;
    const bool file = status & (image::kVmaFilePrivate | image::kVmaFileShared | image::kVmaMemfd) && !(status & image::kVmaAnonShared);
    if (!file || !area.path.starts_with('/')) continue;
    words.insert(words.end(), {area.vma->start, area.vma->end, area.vma->pgoff / kPageSize});
    names += area.path + '\0';
    ++words[0];
  }
  return std::string(reinterpret_cast<const char*>(words.data()), words.size() * sizeof words[0]) + names;
}

}  // namespace

Result<std::string> elf_notes(Snapshot& snapshot, const Snapshot::Process& process, const AddressSpace& memory) {
  std::string notes;
  std::optional<Error> failure;
  size_t shown = 0;
  for (const uint32_t tid : process.threads) {
    auto core = snapshot.core(tid);
    auto registers = core ? arch::core_notes(**core) : Failure(core.error());
    if (!registers) {
      if (!failure) failure = registers.error();
      snapshot.note(registers.error());
    } else {
      ++shown;
      append_note(notes, "CORE", NT_PRSTATUS, status_note(process, tid, **core, *registers));
    }
    if (tid == process.threads.front()) {
      append_note(notes, "CORE", NT_PRPSINFO, process_note(process, core ? core->get() : nullptr, memory));
      const std::vector<uint64_t>& auxv = memory.mm().mm_saved_auxv;
      append_note(notes, "CORE", NT_AUXV, {reinterpret_cast<const char*>(auxv.data()), auxv.size() * sizeof auxv[0]});
      append_note(notes, "CORE", NT_FILE, files_note(memory));
    }
    if (!registers) continue;
    for (const arch::CoreNote& note : registers->others) append_note(notes, note.name, note.type, note.bytes);
  }
  if (shown == 0) return failure ? Failure(*failure) : error(EBADMSG, "{}: process {} has no threads", snapshot.name(), process.pid);
  return notes;
}

}  // namespace faultline::browse
