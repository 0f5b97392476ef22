#include "core/sys/area_reader.h"

#include <sys/mman.h>
#include <unistd.h>

#include <bit>
#include <sstream>

#include "core/base/log.h"

namespace faultline::sys {

namespace {

// From so many resident pages on (statm) smaps takes longer than to open the tools, which are then there for the next process: 2 ms.
constexpr uint64_t kIteratorFrom = 32'768;

// One page each: what is not asked for by mmap is advised afterwards. Numbers that a kernel does not know are refused, and are not learned.
struct Sample { int flags, advice; };
constexpr int kDroppable = 0x08;  // MAP_DROPPABLE, Linux 6.11: in place of MAP_PRIVATE
constexpr Sample kSamples[] = {
    {MAP_PRIVATE, MADV_RANDOM},        {MAP_PRIVATE, MADV_SEQUENTIAL}, {MAP_PRIVATE, MADV_DONTFORK},   {MAP_PRIVATE, MADV_MERGEABLE},
    {MAP_PRIVATE, MADV_HUGEPAGE},      {MAP_PRIVATE, MADV_NOHUGEPAGE}, {MAP_PRIVATE, MADV_DONTDUMP},   {MAP_PRIVATE, MADV_WIPEONFORK},
    {MAP_PRIVATE | MAP_NORESERVE, -1}, {MAP_PRIVATE | MAP_LOCKED, -1}, {MAP_PRIVATE | MAP_GROWSDOWN, -1}, {MAP_SHARED, -1}, {kDroppable, -1}};

std::vector<Mapping> make_samples() {
  std::vector<Mapping> samples;
  for (const Sample& sample : kSamples) {
    auto made = Mapping::map(kPageSize, PROT_NONE, MAP_ANONYMOUS | sample.flags, -1, 0, "an area to learn from");
    if (!made) continue;
    if (sample.advice >= 0) (void)::madvise(made->data(), made->size(), sample.advice);
    samples.push_back(std::move(*made));
  }
  return samples;
}

}  // namespace

Result<FlagWords> FlagWords::learn(const VmaIterator& vmas) {
  const std::vector<Mapping> samples = make_samples();
  std::map<std::pair<Vaddr, Vaddr>, uint64_t> flags;
  for (const VmaIterator::Vma& vma : TRY(vmas.read(::getpid()))) flags.emplace(std::pair(vma.start, vma.end), vma.flags);
  FlagWords learned;
  for (const Area& area : TRY(read_smaps(::getpid())))
    if (const auto at = flags.find({area.start, area.end}); at != flags.end()) TRY(learned.learn(at->second, area.flags));
  return learned;
}

Result<void> FlagWords::learn(uint64_t flags, const std::string& text) {
  std::istringstream in(text);
  std::vector<std::string> words;
  for (std::string word; in >> word;) words.push_back(word);
  // Some bits have no word (those of protection keys): what such an area says cannot be told apart.
  if (words.size() != static_cast<size_t>(std::popcount(flags))) return {};
  for (const std::string& word : words) {
    const int bit = std::countr_zero(flags);
    flags &= flags - 1;
    if (words_.emplace(bit, word).first->second != word) return error(EPROTO, "the kernel calls flag {} of an area both {} and {}", bit, words_[bit], word);
  }
  return {};
}

std::optional<std::string> FlagWords::words(uint64_t flags) const {
  std::string text = " ";
  for (; flags != 0; flags &= flags - 1) {
    const auto word = words_.find(std::countr_zero(flags));
    if (word == words_.end()) return std::nullopt;
    text += word->second + " ";
  }
  return text;
}

Result<AreaReader::Tools> AreaReader::open() {
  VmaIterator vmas = TRY(VmaIterator::open());
  FlagWords words = TRY(FlagWords::learn(vmas));
  return Tools{std::move(vmas), std::move(words)};
}

Result<std::vector<Area>> AreaReader::read_by_iterator(pid_t pid) {
  if (!tools_) tools_ = open();
  if (!*tools_) return Failure(tools_->error());
  const std::vector<VmaIterator::Vma> vmas = TRY((*tools_)->vmas.read(pid));
  std::vector<Area> areas = TRY(read_maps(pid));
  auto vma = vmas.begin();
  for (Area& area : areas) {
    if (area.name == "[vsyscall]") continue;
    if (vma == vmas.end() || vma->start != area.start || vma->end != area.end)
      return error(ENOTSUP, "pid {}: the area {:x}-{:x} is not among those that BPF tells", pid, area.start, area.end);
    auto words = (*tools_)->words.words(vma->flags);
    if (!words) return error(ENOTSUP, "pid {}: the area {:x}-{:x} has flags ({:x}) that were not learned", pid, area.start, area.end, vma->flags);
    area.flags = std::move(*words);
    ++vma;
  }
  return areas;
}

Result<std::vector<Area>> AreaReader::read(pid_t pid) {
  std::istringstream statm(TRY(read_proc(fmt::format("/proc/{}/statm", pid))));
  uint64_t size = 0, resident = 0;
  if (statm >> size >> resident && resident >= kIteratorFrom) {
    auto areas = read_by_iterator(pid);
    if (areas) return areas;
    LOG_DEBUG("{}; smaps is read instead", areas.error().what);
  }
  return read_smaps(pid);
}

}  // namespace faultline::sys
