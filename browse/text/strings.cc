// What a process was started with, from its memory: cmdline, environ; and auxv.
#include <algorithm>
#include <cstring>

#include "browse/text/forms.h"
#include "browse/text/parts.h"

namespace faultline::browse {

namespace {

// Argument and environment of a program together are at most 6 MiB when it starts (execve(2)); a program may point anywhere later.
constexpr uint64_t kLimit = 16 << 20;

// What stands in [start, end), as read(2) from /proc gives it: up to the first hole.
Result<std::string> strings(const AddressSpace& memory, Vaddr start, Vaddr end) {
  if (end <= start) return std::string();
  if (end - start > kLimit) return error(EFBIG, "{:x}-{:x} is said to hold arguments or environment, which is more than {} MiB; look into the memory itself", start, end, kLimit >> 20);
  std::string out;
  while (start + out.size() < end) {
    const Vaddr at = start + out.size();
    const AddressSpace::Run run = memory.run_at(at, end);
    if (run.kind == AddressSpace::Kind::kHole || run.end <= at) break;
    const size_t known = out.size();
    out.resize(known + (run.end - at));
    const size_t got = TRY(memory.read(at, std::as_writable_bytes(std::span(out).subspan(known))));
    out.resize(known + got);
    if (got == 0) break;
  }
  return out;
}

}  // namespace

Result<std::string> cmdline_text(Snapshot& snapshot, const Process& process) {
  if (TRY(thread_state(snapshot, process, process.pid)).dead()) return std::string();
  const auto memory = TRY(snapshot.memory(process.pid));
  const image::MmEntry& mm = memory->mm();
  std::string text = TRY(strings(*memory, mm.mm_arg_start, mm.mm_arg_end));
  if (text.empty() || text.back() == '\0') return text;
  // A program that writes a title over its arguments removes the last NUL: then one string counts, which may reach into the environment
  // (the kernel's get_mm_proctitle()).
  std::string title = TRY(strings(*memory, mm.mm_arg_start, std::max(mm.mm_arg_end, std::min(mm.mm_env_end, mm.mm_arg_start + kPageSize))));
  title.resize(std::min(title.size(), kPageSize));
  const size_t nul = title.find('\0');
  if (nul != std::string::npos) title.resize(nul + 1);
  return title;
}

Result<std::string> environ_text(Snapshot& snapshot, const Process& process) {
  if (TRY(thread_state(snapshot, process, process.pid)).dead()) return std::string();
  const auto memory = TRY(snapshot.memory(process.pid));
  return strings(*memory, memory->mm().mm_env_start, memory->mm().mm_env_end);
}

Result<std::string> auxv_text(Snapshot& snapshot, const Process& process) {
  if (TRY(thread_state(snapshot, process, process.pid)).dead()) return std::string();
  const auto mm = TRY(snapshot.mm(process.pid));
  const std::vector<uint64_t>& words = mm->mm_saved_auxv;
  // Pairs, up to and with the one of type 0 (AT_NULL).
  size_t count = 0;
  while (count + 1 < words.size() && words[count] != 0) count += 2;
  count = std::min(count + 2, words.size());
  std::string out(count * sizeof(uint64_t), '\0');
  if (!out.empty()) std::memcpy(out.data(), words.data(), out.size());
  return out;
}

}  // namespace faultline::browse
