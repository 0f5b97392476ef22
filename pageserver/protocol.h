#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/mapping.h"
#include "core/base/result.h"

// What goes over the wire between a page server and its clients: see PROTOCOL.md, and for CRIU's part formats/page-server-protocol.md.
// Pure encoding and decoding; no descriptors, no threads. Decoders check everything before they allocate. All numbers are little-endian.
namespace faultline::pageserver {

// The memory of a task (id: its pid in the images) or a shared object (id: shmid), as CRIU names it: id << 8 | type.
using ObjectId = uint64_t;
inline constexpr uint8_t kTaskMemory = 1, kSharedMemory = 2;
constexpr ObjectId object_id(uint64_t id, uint8_t type) { return id << 8 | type; }
constexpr uint64_t id_of(ObjectId object) { return object >> 8; }
constexpr uint8_t type_of(ObjectId object) { return static_cast<uint8_t>(object); }
// The same from CRIU's older type numbers; nullopt for a type that means neither.
std::optional<ObjectId> modern_object(uint64_t dst_id);

// --- CRIU's protocol ---

// In front of every message. `pages` counts pages, `vaddr` is in bytes.
struct CriuHeader {
  uint32_t command = 0;  // low half: kCriu...; high half: flags of the pagemap entry
  uint32_t padding = 0;
  uint64_t pages = 0;
  uint64_t vaddr = 0;
  uint64_t object = 0;   // GET: the bare pid
};
static_assert(sizeof(CriuHeader) == 32);

inline constexpr uint32_t kCriuAdd = 1, kCriuHole = 2, kCriuOpen = 3, kCriuOpen2 = 4, kCriuParent = 5, kCriuAddFlags = 6, kCriuGet = 7;
inline constexpr uint32_t kCriuClose = 0x1023, kCriuForceClose = 0x1024;
constexpr uint32_t criu_command(uint32_t command, uint32_t flags) { return flags << 16 | command; }

// --- Hello ---

inline constexpr uint32_t kVersion = 1;
inline constexpr uint64_t kHelloMagic = 0x317267656c746c66, kHelloObject = 0x7fffffffffffff01;
inline constexpr std::string_view kHelloAnswer = "FLT1";
CriuHeader hello();
// The highest version that the client speaks; nullopt if it speaks CRIU's protocol.
std::optional<uint64_t> is_hello(const CriuHeader& header);

// --- Frames ---

enum class FrameType : uint16_t {
  kOpen = 1, kRead, kNames, kFiles, kFile, kPing, kCommit, kDone, kRevoked,
  kReady = 0x81, kPages, kFailed, kText, kBytes, kPong, kCommitted, kBye, kRevoke,
};
inline constexpr uint16_t kLast = 1, kUrgent = 2;  // flags

struct FrameHeader {
  uint32_t length = 0;  // bytes that follow
  FrameType type{};
  uint16_t flags = 0;
  uint64_t id = 0;
  uint64_t check = 0;
};
static_assert(sizeof(FrameHeader) == 24);

inline constexpr size_t kMaxPayload = (1 << 20) + (64 << 10);
inline constexpr size_t kMaxRanges = 512;
inline constexpr uint64_t kMaxReadPages = 16384;  // of one READ
inline constexpr uint64_t kMaxRunPages = 256;     // of one PAGES
inline constexpr size_t kMaxName = 4095;

// Sets length and check for a payload that is given in pieces, all of which are in memory at once.
void seal(FrameHeader& header, std::span<const std::byte> first, std::span<const std::byte> second = {});
// Whether the payload is what was sent.
bool intact(const FrameHeader& header, std::span<const std::byte> payload);

// The frame at the beginning of `bytes`, if it has arrived completely. The payload lies in `bytes`.
struct Frame {
  FrameHeader header;
  std::span<const std::byte> payload;
  size_t size() const { return sizeof(FrameHeader) + payload.size(); }
};
// Errors: EBADMSG for a frame that is too long, of no known type, or whose check does not match.
Result<std::optional<Frame>> next_frame(std::span<const std::byte> bytes);

// Appends a whole frame.
void append_frame(std::string& to, FrameType type, uint16_t flags, uint64_t id, std::string_view payload);

enum class Encoding : uint32_t { kRaw = 0, kZero = 1, kLz4 = 2, kZstd = 3 };
inline constexpr uint32_t kOfferLz4 = 1, kOfferZstd = 2;

struct Open {
  uint32_t version = kVersion;
  uint32_t page_size = kPageSize;
  uint32_t compressions = 0;  // kOffer...
  uint64_t client = 0;        // the same for all connections of one restore
  std::string name;           // of the checkpoint; empty: the one in the served directory itself
};
std::string encode(const Open& open);
Result<Open> decode_open(std::span<const std::byte> payload);
// Whether a name stays below the directory: relative, no empty component, no "." or "..". The empty name is valid.
bool valid_name(std::string_view name);

enum class SourceKind : uint32_t { kStored = 0, kLive = 1 };
struct Ready {
  uint32_t version = kVersion;
  uint32_t page_size = kPageSize;
  Encoding compressed = Encoding::kRaw;
  SourceKind kind = SourceKind::kStored;
};
std::string encode(const Ready& ready);
Result<Ready> decode_ready(std::span<const std::byte> payload);

// Consecutive pages of one object.
struct Range {
  ObjectId object = 0;
  uint64_t address = 0;  // bytes, page aligned
  uint64_t pages = 0;

  uint64_t end() const { return address + pages * kPageSize; }
  bool operator==(const Range&) const = default;
};
std::string encode(std::span<const Range> ranges);
// Errors: EBADMSG for what is malformed, E2BIG for more than the limits.
Result<std::vector<Range>> decode_ranges(std::span<const std::byte> payload);

// In front of the contents in a PAGES frame.
struct RunHeader {
  ObjectId object = 0;
  uint64_t address = 0;
  uint64_t pages = 0;
  Encoding encoding = Encoding::kRaw;
  uint32_t reserved = 0;
};
static_assert(sizeof(RunHeader) == 32);
struct RunView {
  Range range;
  Encoding encoding;
  std::span<const std::byte> contents;  // as on the wire
};
// Errors: EBADMSG if the contents cannot be those of so many pages.
Result<RunView> decode_run(std::span<const std::byte> payload);

struct Failed {
  int code = 0;  // errno
  std::string what;
};
// Whether the server is only short of something for the moment (PROTOCOL.md, section 3): ask again.
bool is_passing(int code);
std::string encode(const Failed& failed);
Result<Failed> decode_failed(std::span<const std::byte> payload);

}  // namespace faultline::pageserver
