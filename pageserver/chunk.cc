#include "pageserver/chunk.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "pageserver/compression.h"

namespace faultline::pageserver {

namespace {

bool is_zero(const std::byte* page) {
  // Most pages that are not zero show it in the first bytes; the rest goes at the speed of memcmp.
  uint64_t first;
  std::memcpy(&first, page, sizeof first);
  return first == 0 && std::memcmp(page, page + sizeof first, kPageSize - sizeof first) == 0;
}

}  // namespace

Result<std::unique_ptr<Chunk>> Chunk::make(size_t capacity, Counters& counters) {
  auto memory = TRY(Mapping::map(capacity, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0, "a buffer for replies"));
  return std::unique_ptr<Chunk>(new Chunk(std::move(memory), counters));
}

Chunk::Chunk(Mapping memory, Counters& counters) : memory_(std::move(memory)), counters_(counters) { counters_.buffer_bytes += capacity(); }
Chunk::~Chunk() { counters_.buffer_bytes -= capacity(); }

void Chunk::reset() {
  used_ = heads_used_ = next_ = 0;
  parts_.clear();
  reads_.clear();
  texts_.clear();
  iovecs_.clear();
  demand_ = false;
}

size_t Chunk::room(size_t limit) const {
  if (parts_.size() + 2 > kMaxParts) return 0;  // CRIU's header is a part of its own
  const size_t most = std::min(limit, capacity());
  return used_ < most ? page_down(most - used_) : 0;
}

Result<Chunk::Part*> Chunk::page_part(Kind kind, const Owner& owner, PageSource& source, const Range& range, const Place& place) {
  FL_CHECK(range.pages * kPageSize <= room(capacity()));
  Part part = {.kind = kind, .owner = owner, .range = range, .data = memory_.data() + used_, .size = range.pages * kPageSize};
  if (place.fd < 0) TRY(source.copy(range, {part.data, part.size}));
  used_ += part.size;
  parts_.push_back(part);
  demand_ |= owner.demand;
  if (place.fd >= 0) read(place.fd, place.offset, part.data, part.size);
  return &parts_.back();
}

Result<void> Chunk::pages(const Owner& owner, PageSource& source, const Range& range, const Place& place) {
  TRY(page_part(Kind::kPages, owner, source, range, place));
  (owner.demand ? counters_.bytes_demand : counters_.bytes_bulk) += range.pages * kPageSize;
  return {};
}

Result<void> Chunk::bare_pages(const Owner& owner, PageSource& source, const Range& range, const Place& place, const CriuHeader* header) {
  if (header != nullptr) {
    auto text = std::make_shared<std::string>(reinterpret_cast<const char*>(header), sizeof *header);
    frame(owner, {}, text, 0, text->size());
  }
  TRY(page_part(Kind::kBarePages, owner, source, range, place));
  (owner.demand ? counters_.bytes_demand : counters_.bytes_bulk) += range.pages * kPageSize;
  return {};
}

Result<void> Chunk::file_pages(const Owner& owner, PageSource& source, const Range& range, const Place& place) {
  TRY(page_part(Kind::kFile, owner, source, range, place));
  counters_.bytes_files += range.pages * kPageSize;
  return {};
}

void Chunk::file(const Owner& owner, std::shared_ptr<const UniqueFd> fd, uint64_t offset, size_t size) {
  FL_CHECK(size <= room(capacity()));
  parts_.push_back({.kind = Kind::kFile, .owner = owner, .range = {}, .data = memory_.data() + used_, .size = size, .fd = fd});
  used_ += page_up(size);
  counters_.bytes_files += size;
  read(fd->get(), offset, parts_.back().data, size);
}

void Chunk::frame(const Owner& owner, FrameType type, std::shared_ptr<const std::string> payload, size_t offset, size_t size) {
  FL_CHECK(parts_.size() < kMaxParts);
  auto* const data = const_cast<std::byte*>(reinterpret_cast<const std::byte*>(payload->data() + offset));  // only read
  parts_.push_back({.kind = Kind::kFrame, .owner = owner, .range = {}, .data = data, .size = size, .type = type, .text = std::move(payload)});
}

// Pages that are in the page cache are copied here: 0.7 us for one page, where the ring takes 1.1 us. What is not there at once is left to
// the ring, which does not make the loop wait.
void Chunk::read(int fd, uint64_t offset, std::byte* to, size_t size) {
  Read rest = {fd, offset, to, size, parts_.size() - 1};
  while (rest.size > 0) {
    const iovec piece = {rest.to, rest.size};
    const ssize_t n = ::preadv2(fd, &piece, 1, static_cast<off_t>(rest.offset), RWF_NOWAIT);
    if (n < 0 && errno == EINTR) continue;
    // Also for errors: whatever it is, the ring will meet it again, unless it is of RWF_NOWAIT (EAGAIN, EOPNOTSUPP).
    if (n < 0 || !completed(rest, static_cast<int>(n))) break;
  }
  ++(rest.size > 0 ? counters_.reads_disk : counters_.reads_cached);
  if (rest.size > 0) reads_.push_back(rest);
}

bool Chunk::completed(Read& read, int result) {
  if (result <= 0) {
    // The end of the file comes too early: somebody has cut it.
    parts_[read.part].failed = result == 0 ? EIO : -result;
    read.size = 0;
    return false;
  }
  const size_t n = std::min(static_cast<size_t>(result), read.size);
  read.offset += n;
  read.to += n;
  read.size -= n;
  return read.size > 0;
}

void Chunk::read_all() {
  for (Read& read : reads_) {
    ssize_t n;
    do {
      n = ::pread(read.fd, read.to, read.size, static_cast<off_t>(read.offset));
    } while ((n < 0 && errno == EINTR) || completed(read, n < 0 ? -errno : static_cast<int>(n)));
  }
  reads_.clear();
}

std::byte* Chunk::head(size_t size) {
  FL_CHECK(heads_.size() - heads_used_ >= size);
  return heads_.data() + std::exchange(heads_used_, heads_used_ + size);
}

void Chunk::add(const void* data, size_t size) {
  if (size != 0) iovecs_.push_back({const_cast<void*>(data), size});
}

void Chunk::frame_around(FrameType type, const Owner& owner, bool last, std::span<const std::byte> payload) {
  FrameHeader header = {.length = 0, .type = type, .flags = last ? kLast : uint16_t{0}, .id = owner.id, .check = 0};
  seal(header, payload);
  std::byte* const to = head(sizeof header);
  std::memcpy(to, &header, sizeof header);
  add(to, sizeof header);
  add(payload.data(), payload.size());
}

void Chunk::finish_run(const Part& part, const Range& run, const std::byte* data, bool zero, Encoding packing, std::vector<std::byte>& scratch) {
  struct {
    FrameHeader frame;
    RunHeader run;
  } heads = {.frame = {.length = 0, .type = FrameType::kPages, .flags = 0, .id = part.owner.id, .check = 0},
             .run = {.object = run.object, .address = run.address, .pages = run.pages, .encoding = zero ? Encoding::kZero : Encoding::kRaw, .reserved = 0}};
  static_assert(sizeof heads == kHeadSize);
  std::span<const std::byte> contents(data, zero ? 0 : run.pages * kPageSize);
  if (!zero && packing != Encoding::kRaw) {
    scratch.resize(kBig);
    if (const size_t size = pack(packing, contents, std::span(scratch).first(contents.size()))) {
      std::byte* const to = part.data + (data - part.data);
      std::memcpy(to, scratch.data(), size);
      contents = {to, size};
      heads.run.encoding = packing;
    }
  }
  if (part.owner.last && run.end() == part.range.end()) heads.frame.flags = kLast;
  seal(heads.frame, std::as_bytes(std::span(&heads.run, 1)), contents);
  std::byte* const to = head(sizeof heads);
  std::memcpy(to, &heads, sizeof heads);
  add(to, sizeof heads);
  add(contents.data(), contents.size());
  if (zero) counters_.pages_zero += run.pages;
}

void Chunk::finish_pages(const Part& part, Encoding packing, std::vector<std::byte>& scratch) {
  for (uint64_t at = 0; at < part.range.pages;) {
    const std::byte* const data = part.data + at * kPageSize;
    const bool zero = is_zero(data);
    uint64_t pages = 1;
    while (at + pages < part.range.pages && is_zero(data + pages * kPageSize) == zero) ++pages;
    finish_run(part, {part.range.object, part.range.address + at * kPageSize, pages}, data, zero, packing, scratch);
    at += pages;
  }
}

void Chunk::fail(const Part& part) {
  texts_.push_back(std::make_shared<std::string>(
      encode(Failed{part.failed, fmt::format("the page at {:#x} of object {:#x} cannot be read: {}", part.range.address, part.range.object, errno_text(part.failed))})));
  frame_around(FrameType::kFailed, part.owner, true, std::as_bytes(std::span(*texts_.back())));
}

std::vector<Chunk::Failure> Chunk::finish(Encoding packing, std::vector<std::byte>& scratch) {
  std::vector<Failure> failures;
  for (const Part& part : parts_) {
    const auto is_this = [&](const Failure& f) { return f.owner.serial == part.owner.serial; };
    if (std::ranges::any_of(failures, is_this)) continue;
    if (part.failed != 0) {
      failures.push_back({part.owner, part.failed});
      if (part.kind != Kind::kBarePages) fail(part);
      continue;
    }
    if (part.text) texts_.push_back(part.text);
    if (part.kind == Kind::kPages) finish_pages(part, packing, scratch);
    else if (part.kind == Kind::kFile) frame_around(FrameType::kBytes, part.owner, part.owner.last, {part.data, part.size});
    else if (part.kind == Kind::kFrame && part.type != FrameType{}) frame_around(part.type, part.owner, part.owner.last, {part.data, part.size});
    else add(part.data, part.size);
  }
  return failures;
}

bool Chunk::sent(size_t bytes) {
  counters_.bytes_sent += bytes;
  while (bytes > 0 && next_ < iovecs_.size()) {
    iovec& first = iovecs_[next_];
    const size_t n = std::min(bytes, first.iov_len);
    first.iov_base = static_cast<std::byte*>(first.iov_base) + n;
    first.iov_len -= n;
    bytes -= n;
    if (first.iov_len == 0) ++next_;
  }
  return next_ == iovecs_.size();
}

Result<std::unique_ptr<Chunk>> ChunkPool::take(size_t wanted) {
  const bool big = wanted > Chunk::kSmall && big_in_use_ < kManyBig;
  auto& kept = big ? big_ : small_;
  std::unique_ptr<Chunk> chunk;
  if (!kept.empty()) {
    chunk = std::move(kept.back());
    kept.pop_back();
  } else {
    chunk = TRY(Chunk::make(big ? Chunk::kBig : Chunk::kSmall, counters_));
  }
  big_in_use_ += big;
  return chunk;
}

void ChunkPool::give(std::unique_ptr<Chunk> chunk) {
  const bool big = chunk->capacity() == Chunk::kBig;
  auto& kept = big ? big_ : small_;
  big_in_use_ -= big;
  chunk->reset();
  if (kept.size() < kKept) kept.push_back(std::move(chunk));
}

}  // namespace faultline::pageserver
