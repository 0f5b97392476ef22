#include "pageserver/compression.h"

#include <lz4.h>
#include <zstd.h>

namespace faultline::pageserver {

namespace {

constexpr int kZstdLevel = 1;  // pages are wanted soon

const char* chars(std::span<const std::byte> bytes) { return reinterpret_cast<const char*>(bytes.data()); }
char* chars(std::span<std::byte> bytes) { return reinterpret_cast<char*>(bytes.data()); }

}  // namespace

size_t pack(Encoding encoding, std::span<const std::byte> contents, std::span<std::byte> to) {
  const size_t room = contents.size() - 1;
  if (encoding == Encoding::kLz4) {
    const int size = LZ4_compress_default(chars(contents), chars(to), static_cast<int>(contents.size()), static_cast<int>(room));
    return size > 0 ? static_cast<size_t>(size) : 0;
  }
  if (encoding == Encoding::kZstd) {
    const size_t size = ZSTD_compress(to.data(), room, contents.data(), contents.size(), kZstdLevel);
    return ZSTD_isError(size) ? 0 : size;
  }
  return 0;
}

Result<void> unpack(Encoding encoding, std::span<const std::byte> packed, std::span<std::byte> to) {
  bool good = false;
  if (encoding == Encoding::kLz4)
    good = LZ4_decompress_safe(chars(packed), chars(to), static_cast<int>(packed.size()), static_cast<int>(to.size())) == static_cast<int>(to.size());
  else if (encoding == Encoding::kZstd)
    good = ZSTD_decompress(to.data(), to.size(), packed.data(), packed.size()) == to.size();
  if (!good) return error(EBADMSG, "a compressed run of {} bytes cannot be unpacked", packed.size());
  return {};
}

}  // namespace faultline::pageserver
