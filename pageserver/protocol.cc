#include "pageserver/protocol.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <cstring>

namespace faultline::pageserver {

namespace {

constexpr uint64_t kUserEnd = uint64_t{1} << 47;    // above all addresses of processes
constexpr uint64_t kObjectEnd = uint64_t{1} << 63;  // above all offsets in shared objects

template <typename T>
void put(std::string& to, T value) {
  to.append(reinterpret_cast<const char*>(&value), sizeof value);
}

// Takes numbers off the front of a payload whose length was checked.
class Cursor {
 public:
  explicit Cursor(std::span<const std::byte> bytes) : bytes_(bytes) {}

  template <typename T>
  T take() {
    T value;
    std::memcpy(&value, bytes_.data(), sizeof value);
    bytes_ = bytes_.subspan(sizeof value);
    return value;
  }
  std::span<const std::byte> rest() const { return bytes_; }
  std::string text() const { return {reinterpret_cast<const char*>(bytes_.data()), bytes_.size()}; }

 private:
  std::span<const std::byte> bytes_;
};

uint64_t seed_of(const FrameHeader& header) {
  uint64_t words[2];
  std::memcpy(words, &header, sizeof words);
  return words[0] ^ words[1];
}

bool known(FrameType type) {
  return (type >= FrameType::kOpen && type <= FrameType::kRevoked) || (type >= FrameType::kReady && type <= FrameType::kRevoke);
}

Result<void> check_length(std::span<const std::byte> payload, size_t least, const char* what) {
  if (payload.size() < least) return error(EBADMSG, "a message {} has {} bytes, {} are the least", what, payload.size(), least);
  return {};
}

Result<void> check_range(const Range& range) {
  const uint64_t end = type_of(range.object) == kTaskMemory ? kUserEnd : kObjectEnd;
  if ((type_of(range.object) != kTaskMemory && type_of(range.object) != kSharedMemory) || range.address % kPageSize != 0 || range.pages == 0 ||
      range.address >= end || range.pages > (end - range.address) / kPageSize)
    return error(EBADMSG, "a range of {} pages at {:#x} of object {:#x} cannot be", range.pages, range.address, range.object);
  return {};
}

}  // namespace

std::optional<ObjectId> modern_object(uint64_t dst_id) {
  switch (type_of(dst_id)) {
    case kTaskMemory:
    case 10: case 11: case 16: case 17: return object_id(id_of(dst_id), kTaskMemory);
    case kSharedMemory:
    case 27: case 28: case 29: case 32: case 33: case 34: return object_id(id_of(dst_id), kSharedMemory);
    default: return std::nullopt;
  }
}

CriuHeader hello() { return {.command = kCriuParent, .padding = 0, .pages = kHelloMagic, .vaddr = kVersion, .object = kHelloObject}; }

std::optional<uint64_t> is_hello(const CriuHeader& header) {
  if (header.command != kCriuParent || header.pages != kHelloMagic || header.object != kHelloObject) return std::nullopt;
  return header.vaddr;
}

void seal(FrameHeader& header, std::span<const std::byte> first, std::span<const std::byte> second) {
  header.length = static_cast<uint32_t>(first.size() + second.size());
  if (second.empty()) {
    header.check = XXH3_64bits_withSeed(first.data(), first.size(), seed_of(header));
    return;
  }
  XXH3_state_t state;
  // Without it, a state whose memory happens to hold this very seed is taken for one that has been made ready for it.
  XXH3_INITSTATE(&state);
  XXH3_64bits_reset_withSeed(&state, seed_of(header));
  XXH3_64bits_update(&state, first.data(), first.size());
  XXH3_64bits_update(&state, second.data(), second.size());
  header.check = XXH3_64bits_digest(&state);
}

bool intact(const FrameHeader& header, std::span<const std::byte> payload) {
  return payload.size() == header.length && XXH3_64bits_withSeed(payload.data(), payload.size(), seed_of(header)) == header.check;
}

Result<std::optional<Frame>> next_frame(std::span<const std::byte> bytes) {
  Frame frame;
  if (bytes.size() < sizeof frame.header) return std::optional<Frame>();
  std::memcpy(&frame.header, bytes.data(), sizeof frame.header);
  if (frame.header.length > kMaxPayload) return error(EBADMSG, "a message of {} bytes is longer than {}", frame.header.length, kMaxPayload);
  if (!known(frame.header.type)) return error(EBADMSG, "a message is of the unknown type {:#x}", static_cast<unsigned>(frame.header.type));
  if (bytes.size() - sizeof frame.header < frame.header.length) return std::optional<Frame>();
  frame.payload = bytes.subspan(sizeof frame.header, frame.header.length);
  if (!intact(frame.header, frame.payload)) return error(EBADMSG, "a message of type {:#x} was damaged on its way", static_cast<unsigned>(frame.header.type));
  return std::optional<Frame>(frame);
}

void append_frame(std::string& to, FrameType type, uint16_t flags, uint64_t id, std::string_view payload) {
  FrameHeader header = {.length = 0, .type = type, .flags = flags, .id = id, .check = 0};
  seal(header, std::as_bytes(std::span(payload)));
  put(to, header);
  to += payload;
}

std::string encode(const Open& open) {
  std::string bytes;
  put(bytes, open.version);
  put(bytes, open.page_size);
  put(bytes, open.compressions);
  put(bytes, uint32_t{0});
  put(bytes, open.client);
  return bytes + open.name;
}

Result<Open> decode_open(std::span<const std::byte> payload) {
  TRY(check_length(payload, 24, "OPEN"));
  Cursor at(payload);
  Open open;
  open.version = at.take<uint32_t>();
  open.page_size = at.take<uint32_t>();
  open.compressions = at.take<uint32_t>();
  at.take<uint32_t>();
  open.client = at.take<uint64_t>();
  open.name = at.text();
  if (!valid_name(open.name)) return error(EBADMSG, "the name of a checkpoint must be relative and stay below the served directory");
  return open;
}

bool valid_name(std::string_view name) {
  if (name.empty()) return true;
  if (name.size() > kMaxName || name.find('\0') != name.npos) return false;
  for (size_t at = 0; at <= name.size();) {
    const size_t end = std::min(name.find('/', at), name.size());
    const std::string_view component = name.substr(at, end - at);
    if (component.empty() || component == "." || component == ".." || component.size() > 255) return false;
    at = end + 1;
  }
  return true;
}

std::string encode(const Ready& ready) {
  std::string bytes;
  put(bytes, ready.version);
  put(bytes, ready.page_size);
  put(bytes, ready.compressed);
  put(bytes, ready.kind);
  return bytes;
}

Result<Ready> decode_ready(std::span<const std::byte> payload) {
  TRY(check_length(payload, 16, "READY"));
  Cursor at(payload);
  Ready ready;
  ready.version = at.take<uint32_t>();
  ready.page_size = at.take<uint32_t>();
  ready.compressed = at.take<Encoding>();
  ready.kind = at.take<SourceKind>();
  if (ready.version != kVersion || ready.page_size != kPageSize)
    return error(EBADMSG, "the page server speaks version {} with pages of {} bytes, this is version {} with {}", ready.version, ready.page_size, kVersion, kPageSize);
  if (ready.compressed > Encoding::kZstd || ready.kind > SourceKind::kLive) return error(EBADMSG, "the page server's READY has values that are not known");
  return ready;
}

std::string encode(std::span<const Range> ranges) {
  std::string bytes;
  for (const Range& range : ranges) put(bytes, range.object), put(bytes, range.address), put(bytes, range.pages);
  return bytes;
}

Result<std::vector<Range>> decode_ranges(std::span<const std::byte> payload) {
  constexpr size_t kSize = 24;
  TRY(check_length(payload, kSize, "READ"));
  if (payload.size() % kSize != 0) return error(EBADMSG, "a message READ of {} bytes is not a whole number of ranges", payload.size());
  if (payload.size() / kSize > kMaxRanges) return error(E2BIG, "{} ranges in one READ are more than {}", payload.size() / kSize, kMaxRanges);
  std::vector<Range> ranges;
  uint64_t pages = 0;
  for (Cursor at(payload); !at.rest().empty();) {
    Range range;
    range.object = at.take<uint64_t>();
    range.address = at.take<uint64_t>();
    range.pages = at.take<uint64_t>();
    TRY(check_range(range));
    if (range.pages > kMaxReadPages - pages) return error(E2BIG, "more than {} pages in one READ", kMaxReadPages);
    pages += range.pages;
    ranges.push_back(range);
  }
  return ranges;
}

Result<RunView> decode_run(std::span<const std::byte> payload) {
  TRY(check_length(payload, sizeof(RunHeader), "PAGES"));
  Cursor at(payload);
  const auto header = at.take<RunHeader>();
  RunView run = {.range = {header.object, header.address, header.pages}, .encoding = header.encoding, .contents = at.rest()};
  TRY(check_range(run.range));
  if (header.pages > kMaxRunPages) return error(EBADMSG, "a run of {} pages is longer than {}", header.pages, kMaxRunPages);
  const size_t size = header.pages * kPageSize;
  const bool fits = run.encoding == Encoding::kRaw    ? run.contents.size() == size
                    : run.encoding == Encoding::kZero ? run.contents.empty()
                                                      : run.encoding <= Encoding::kZstd && !run.contents.empty() && run.contents.size() < size;
  if (!fits) return error(EBADMSG, "a run of {} pages cannot have {} bytes of encoding {}", header.pages, run.contents.size(), static_cast<uint32_t>(header.encoding));
  return run;
}

bool is_passing(int code) { return code == EAGAIN || code == ENOMEM || code == ENFILE || code == EMFILE; }

std::string encode(const Failed& failed) {
  std::string bytes;
  put(bytes, static_cast<uint32_t>(failed.code));
  return bytes + failed.what;
}

Result<Failed> decode_failed(std::span<const std::byte> payload) {
  TRY(check_length(payload, 4, "FAILED"));
  Cursor at(payload);
  const auto code = at.take<uint32_t>();
  // The text goes to a log: no control characters from outside.
  std::string what = at.text().substr(0, 1000);
  for (char& c : what)
    if (static_cast<unsigned char>(c) < ' ' || c == 127) c = '?';
  return Failed{.code = code > 0 && code < 4096 ? static_cast<int>(code) : EIO, .what = std::move(what)};
}

}  // namespace faultline::pageserver
