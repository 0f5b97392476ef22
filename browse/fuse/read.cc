#include "browse/fuse/read.h"

#include <algorithm>
#include <memory>

#include "browse/fuse/lone_reader.h"
#include "browse/fuse/server.h"
#include "browse/tree/tree.h"

namespace faultline::browse {

namespace {

// Below this, one copy is cheaper than a pipe.
constexpr size_t kSpliceFrom = 32 << 10;
// So many pieces are put together; what is scattered more is copied.
constexpr size_t kMostPlaces = 16;
constexpr size_t kZeros = 64 << 10;
alignas(4096) std::byte zeros[kZeros];  // never written: takes no memory

// A buffer of the thread; of fresh memory, so that only what was used takes any.
std::span<std::byte> buffer() {
  thread_local const std::unique_ptr<std::byte[]> memory(new std::byte[kLargestRead]);
  return {memory.get(), kLargestRead};
}

// The places of [offset, offset + size), of which the file has all. False: they are not all known, or too many.
bool collect(const FileData& content, uint64_t offset, size_t size, fuse_bufvec& to) {
  const uint64_t end = offset + size;
  to.count = 0;
  while (offset < end) {
    const auto place = content.place(offset, end);
    if (!place || to.count == kMostPlaces) return false;
    fuse_buf& piece = to.buf[to.count++];
    piece = {};
    if (place->fd >= 0) {
      piece.size = place->length;
      piece.flags = static_cast<fuse_buf_flags>(FUSE_BUF_IS_FD | FUSE_BUF_FD_SEEK | FUSE_BUF_FD_RETRY);
      piece.fd = place->fd;
      piece.pos = static_cast<off_t>(place->offset);
    } else {
      piece.size = std::min<uint64_t>(place->length, kZeros);
      piece.mem = zeros;
    }
    offset += piece.size;
  }
  return true;
}

}  // namespace

void reply_read(fuse_req_t request, const FileHandle& file, uint64_t offset, size_t size, Connection& connection) {
  const FileData& content = *file.content;
  if (offset >= content.size()) return void(fuse_reply_buf(request, nullptr, 0));
  size = std::min({size, kLargestRead, content.size() - offset});
  thread_local LoneReader lone;
  lone.answering(size < kSpliceFrom ? fuse_req_ctx(request)->pid : 0);
  if (size >= kSpliceFrom) {
    alignas(fuse_bufvec) std::byte room[sizeof(fuse_bufvec) + kMostPlaces * sizeof(fuse_buf)] = {};
    auto& pieces = *reinterpret_cast<fuse_bufvec*>(room);
    if (collect(content, offset, size, pieces)) {
      fuse_reply_data(request, &pieces, static_cast<fuse_buf_copy_flags>(0));
      return;
    }
  }
  if (connection.tree.far()) connection.server.hand_over();
  const auto n = content.read(offset, buffer().first(size));
  if (!n) {
    connection.tree.snapshot().note(n.error());
    return void(fuse_reply_err(request, EIO));
  }
  // Page by page, the kernel will find what can be read.
  if (*n < size && !file.direct) return void(fuse_reply_err(request, EIO));
  fuse_reply_buf(request, reinterpret_cast<const char*>(buffer().data()), *n);
}

}  // namespace faultline::browse
