#pragma once

#include <sys/uio.h>

#include <array>
#include <memory>
#include <vector>

#include "core/base/mapping.h"
#include "pageserver/counters.h"
#include "pageserver/page_source.h"

namespace faultline::pageserver {

// A piece of the answers of one session, which is read, finished, and sent as a whole. Steps, in order: pages() and so on as often as
// there is room; all reads() complete; finish(); iovecs() are sent. Not moved while reads are under way or it is being sent.
class Chunk {
 public:
  static constexpr size_t kBig = 256 << 10, kSmall = 64 << 10;

  // `capacity`: of pages and file contents, bytes.
  static Result<std::unique_ptr<Chunk>> make(size_t capacity, Counters& counters);
  ~Chunk();
  Chunk(const Chunk&) = delete;
  size_t capacity() const { return memory_.size(); }
  // Empties it.
  void reset();

  // Which request a part belongs to.
  struct Owner {
    uint64_t serial = 0;  // the session's own number
    uint64_t id = 0;      // the client's
    bool last = false;    // the last part of the answer
    bool demand = false;
  };

  // How many bytes of contents can still be added, if no more than `limit` shall be in it.
  size_t room(size_t limit) const;
  bool empty() const { return parts_.empty(); }

  // Pages of one range, at most room().
  Result<void> pages(const Owner& owner, PageSource& source, const Range& range, const Place& place);
  // The same without a frame around them, as CRIU wants them. With `header` in front, if it is not null.
  Result<void> bare_pages(const Owner& owner, PageSource& source, const Range& range, const Place& place, const CriuHeader* header);
  // Pages as the contents of a file.
  Result<void> file_pages(const Owner& owner, PageSource& source, const Range& range, const Place& place);
  // Bytes of a file, at most room().
  void file(const Owner& owner, std::shared_ptr<const UniqueFd> fd, uint64_t offset, size_t size);
  // A frame with this payload, which is not copied; or just the bytes, if the type is 0.
  void frame(const Owner& owner, FrameType type, std::shared_ptr<const std::string> payload, size_t offset, size_t size);

  // What could not be had without waiting for a disk.
  struct Read {
    int fd;
    uint64_t offset;
    std::byte* to;
    size_t size;
    size_t part;
  };
  std::vector<Read>& reads() { return reads_; }
  // A read gave `result` bytes, or a negative errno. True: it has to be done again with what is left of it.
  bool completed(Read& read, int result);
  // Does the reads here and now, for who may wait.
  void read_all();

  struct Failure {
    Owner owner;
    int code;
  };
  // Makes frames of what was read: finds the pages of zeros, packs the others, adds up the checks. `scratch` is used with `packing` other
  // than kRaw. Gives the parts that could not be read; their requests have been answered with FAILED, and nothing more must follow.
  std::vector<Failure> finish(Encoding packing, std::vector<std::byte>& scratch);

  // What is to be sent. sent() takes away what was, and is true when nothing is left.
  std::span<const iovec> iovecs() const { return std::span(iovecs_).subspan(next_); }
  bool sent(size_t bytes);
  // Whether a demanded page is in it.
  bool demand() const { return demand_; }

 private:
  enum class Kind { kPages, kBarePages, kFile, kFrame };
  struct Part {
    Kind kind;
    Owner owner;
    Range range;
    std::byte* data = nullptr;
    size_t size = 0;
    FrameType type{};
    std::shared_ptr<const std::string> text;
    std::shared_ptr<const UniqueFd> fd;
    int failed = 0;  // errno
  };
  static constexpr size_t kMaxParts = 128, kMaxPages = kBig / kPageSize;
  // A part gives a frame, or as many as it has pages.
  static constexpr size_t kHeadSize = sizeof(FrameHeader) + sizeof(RunHeader);

  Chunk(Mapping memory, Counters& counters);
  Result<Part*> page_part(Kind kind, const Owner& owner, PageSource& source, const Range& range, const Place& place);
  void read(int fd, uint64_t offset, std::byte* to, size_t size);
  std::byte* head(size_t size);
  void add(const void* data, size_t size);
  void frame_around(FrameType type, const Owner& owner, bool last, std::span<const std::byte> payload);
  void finish_pages(const Part& part, Encoding packing, std::vector<std::byte>& scratch);
  void finish_run(const Part& part, const Range& run, const std::byte* data, bool zero, Encoding packing, std::vector<std::byte>& scratch);
  void fail(const Part& part);

  Mapping memory_;
  Counters& counters_;
  size_t used_ = 0;
  std::vector<Part> parts_;
  std::vector<Read> reads_;
  std::array<std::byte, (kMaxParts + kMaxPages) * kHeadSize> heads_;
  size_t heads_used_ = 0;
  std::vector<std::shared_ptr<const std::string>> texts_;  // that iovecs_ point to
  std::vector<iovec> iovecs_;
  size_t next_ = 0;  // the first of iovecs_ that is not sent
  bool demand_ = false;
};

// The chunks of one worker. At most kManyBig big ones are made, so that many slow clients do not hold much memory: beyond that, small ones.
class ChunkPool {
 public:
  static constexpr size_t kManyBig = 32, kKept = 8;

  explicit ChunkPool(Counters& counters) : counters_(counters) {}
  // `wanted`: how much will be put into it. Errors: ENOMEM.
  Result<std::unique_ptr<Chunk>> take(size_t wanted);
  void give(std::unique_ptr<Chunk> chunk);

 private:
  Counters& counters_;
  std::vector<std::unique_ptr<Chunk>> big_, small_;
  size_t big_in_use_ = 0;
};

}  // namespace faultline::pageserver
