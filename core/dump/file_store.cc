#include <fcntl.h>

#include <algorithm>
#include <atomic>
#include <optional>
#include <thread>
#include <vector>

#include "core/dump/page_store.h"
#include "core/image/checkpoint.h"
#include "pageserver/listing.h"

namespace faultline::dump {

namespace {

constexpr size_t kMaxPieces = 4096;  // that are copied in one go: 1 GiB
// From so many bytes on a second thread pays for its start.
constexpr uint64_t kParallelFrom = 8 << 20;
// From so many bytes on space is reserved ahead, which makes writing faster and bringing to the disk slower (ext4 marks it as written then).
constexpr uint64_t kReserveFrom = 64 << 20;

struct Piece {
  Vaddr start;
  uint64_t bytes;
  uint64_t offset;  // in the pages file
};

// Copies pieces of memory into the pages file. Each call takes the next piece, so that several threads may do it side by side.
class Copier {
 public:
  Copier(const MemoryReader& memory, int pages, const std::vector<Piece>& pieces, const Written& written)
      : memory_(memory), pages_(pages), pieces_(pieces), written_(written) {}

  // Copies all pieces. `parallel`: with a second thread. Errors: those of reading the process or writing the file, the first one met.
  Result<void> copy(bool parallel) {
    Result<void> mine, other;
    if (parallel) {
      std::thread second([&] { other = work(); });
      mine = work();
      second.join();
    } else {
      mine = work();
    }
    if (!mine) return mine;
    return other;
  }

 private:
  Result<void> work() {
    std::vector<std::byte> buffer(kStoreChunk);
    for (size_t i; (i = next_.fetch_add(1)) < pieces_.size();) {
      const Piece& piece = pieces_[i];
      TRY(memory_.read(piece.start, {buffer.data(), piece.bytes}));
      TRY(pwrite_all(pages_, buffer.data(), piece.bytes, static_cast<off_t>(piece.offset), "the pages image"));
      TRY(written_(piece.bytes));
    }
    return {};
  }

  const MemoryReader& memory_;
  int pages_;
  const std::vector<Piece>& pieces_;
  const Written& written_;
  std::atomic<size_t> next_{0};
};

image::PagemapEntry entry_of(const PageRun& run) {
  // Older readers know only the 32-bit count.
  return {.vaddr = run.start, .compat_nr_pages = static_cast<uint32_t>(std::min<uint64_t>(run.pages, UINT32_MAX)), .in_parent = {},
          .flags = run.flags, .nr_pages = run.pages};
}

class FileStore final : public PageStore {
 public:
  FileStore(const image::ImageDir& dir, bool sync, Written written) : dir_(dir), sync_(sync), written_(std::move(written)) {}

  Result<void> begin(pageserver::ObjectId object) override {
    name_ = fmt::format("pages-{}.img", ++pages_id_);
    pages_ = TRY(dir_.open_file(name_, O_RDWR | O_CREAT | O_TRUNC));
    pagemap_ = TRY(image::Writer::create(dir_, pageserver::pagemap_name(object), image::kPagemap));
    TRY(pagemap_->put(image::PagemapHead{.pages_id = pages_id_}));
    offset_ = 0;
    return {};
  }

  Result<void> put(std::span<const PageRun> runs, const MemoryReader& memory) override {
    for (const PageRun& run : runs) {
      TRY(pagemap_->put(entry_of(run)));
      if (!(run.flags & image::kPagePresent)) continue;
      for (Vaddr at = run.start; at < run.end();) {
        const uint64_t bytes = std::min<uint64_t>(run.end() - at, kStoreChunk);
        pieces_.push_back({at, bytes, offset_});
        pending_ += bytes;
        at += bytes, offset_ += bytes;
        if (pieces_.size() >= kMaxPieces) TRY(copy(memory));
      }
    }
    return copy(memory);
  }

  Result<void> end() override {
    if (sync_ && offset_ > 0) dir_.begin_sync(name_);
    pages_.reset();
    return pagemap_->close();
  }

  Result<void> finish() override { return {}; }

 private:
  Result<void> copy(const MemoryReader& memory) {
    if (pending_ >= kReserveFrom) TRY(reserve());
    TRY(Copier(memory, pages_.get(), pieces_, written_).copy(pending_ >= kParallelFrom));
    pieces_.clear();
    pending_ = 0;
    return {};
  }

  // Space reserved at once is written a third faster than space found page by page (ext4: 165 instead of 250 ms per GiB), and a disk that is
  // full is told before anything is copied.
  Result<void> reserve() {
    if (::fallocate(pages_.get(), 0, static_cast<off_t>(offset_ - pending_), static_cast<off_t>(pending_)) == 0) return {};
    if (errno == ENOSPC || errno == EDQUOT || errno == EFBIG) return sys_error("{} bytes for {}", pending_, name_);
    return {};  // not every file system can
  }

  const image::ImageDir& dir_;
  const bool sync_;
  const Written written_;
  uint32_t pages_id_ = 0;
  // Of the object that has begun.
  std::string name_;
  UniqueFd pages_;
  std::optional<image::Writer> pagemap_;
  std::vector<Piece> pieces_;
  uint64_t pending_ = 0, offset_ = 0;  // bytes in pieces_; bytes that are to be in the pages file
};

}  // namespace

std::unique_ptr<PageStore> file_store(const image::ImageDir& dir, bool sync, Written written) {
  return std::make_unique<FileStore>(dir, sync, std::move(written));
}

}  // namespace faultline::dump
