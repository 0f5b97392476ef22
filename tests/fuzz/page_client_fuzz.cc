// fuzz-sources: core/base/*.cc core/image/*.cc pageserver/client.cc pageserver/protocol.cc pageserver/compression.cc pageserver/listing.cc pageserver/receive_buffer.cc pageserver/stream.cc
// fuzz-seeds: none
//
// Any bytes as what a client of a page server is sent. The first byte says how they are taken: as the bytes of the stream; as answers of CRIU's
// protocol, or messages of Faultline's, to which the harness adds the heads and checks that no mutation would find; or as a list of images.
// Beyond "no crash": of CRIU's pages only those are told that were asked for, as many bytes as they say, and little memory is needed.
#include <algorithm>
#include <cstring>
#include <string>

#include "pageserver/client.h"
#include "pageserver/compression.h"
#include "pageserver/listing.h"
#include "tests/fuzz/require.h"

using namespace faultline;
using namespace faultline::pageserver;

namespace {

// Gives the input, `step` bytes at a time, then its end. Before the byte `pause` it waits once, so that what follows answers a later request.
class Input final : public Stream {
 public:
  Input(std::string bytes, size_t step, size_t pause) : Stream(UniqueFd()), bytes_(std::move(bytes)), step_(step), pause_(pause) {}

  Result<size_t> read(std::span<std::byte> to) override {
    if (at_ == pause_) {
      pause_ = SIZE_MAX;
      return size_t{0};
    }
    if (at_ == bytes_.size()) return error(ENODATA, "the end");
    const size_t n = std::min({to.size(), step_, (at_ < pause_ ? std::min(pause_, bytes_.size()) : bytes_.size()) - at_});
    require(n > 0, "a read without room: the buffer is full, and nothing is taken out of it");
    std::memcpy(to.data(), bytes_.data() + at_, n);
    at_ += n;
    return n;
  }
  Result<size_t> write(std::span<const iovec> from) override {
    size_t n = 0;
    for (const iovec& piece : from) n += piece.iov_len;
    written_ += n;
    require(written_ <= kMostWritten + at_ * 2, "it says more than it is asked");
    return n;
  }
  short wanted_by_read() const override { return 1; }
  short wanted_by_write() const override { return 4; }
  bool has_pending() const override { return true; }
  void shutdown() override {}

 private:
  static constexpr size_t kMostWritten = 64 << 10;
  const std::string bytes_;
  const size_t step_;
  size_t pause_, at_ = 0, written_ = 0;
};

constexpr ObjectId kObject = object_id(7, kTaskMemory);
const Range kAsked[] = {{kObject, 0x10000, 3}, {kObject, 0x40000, 300}, {object_id(9, kTaskMemory), 0x10000, 1}};

bool asked_for(const Range& come) {
  for (const Range& range : kAsked)
    if (come.object == range.object && come.address >= range.address && come.pages <= range.pages && come.end() <= range.end()) return true;
  return false;
}

enum class Call { kNone, kFiles, kFile, kCommit, kDone, kCount };

void receive(std::string bytes, size_t step, size_t pause, Call call) {
  const size_t most = bytes.size() * 2 + (64 << 10);
  auto client = Client::start(std::make_unique<Input>(std::move(bytes), step, pause), {.checkpoint = "x", .client = 5, .compressions = kOfferLz4 | kOfferZstd});
  require(client.has_value(), "no memory");
  const ClientEvents events = {
      .pages =
          [&](const Range& range, std::span<const std::byte> contents) {
            require(range.pages > 0 && range.pages <= kMaxReadPages, "a run of no length that can be");
            require(contents.empty() || contents.size() == range.pages * kPageSize, "contents of another length than they say");
            // Faultline's pages are looked up by whoever asked (RemotePort); CRIU's are matched here.
            if (client->speaks_criu()) require(asked_for(range) && !contents.empty(), "pages that were not asked for");
          },
      .failed = [](uint64_t, const Failed& failed) { require(failed.code > 0, "a failure without a reason"); },
      .revoked = [] {},
  };
  (void)client->read(kAsked, true);
  const std::chrono::milliseconds patience(1);
  if (!client->flush()) return;
  if (call == Call::kNone) {
    while (client->receive(1 << 20, events)) {
    }
    return;
  }
  if (!client->wait_ready(patience)) return;
  if (call == Call::kFiles) {
    const auto list = client->list_files(patience);
    require(!list || list->size() <= std::min(most, kMaxPayload), "a list that is longer than what came");
    if (list) (void)parse_listing(*list);
  }
  size_t got = 0;
  if (call == Call::kFile) (void)client->get_file("x.img", patience, [&](std::span<const std::byte> part) -> Result<void> {
    got += part.size();
    return {};
  });
  require(got <= most, "a file that is longer than what came");
  if (call == Call::kCommit) (void)client->commit(patience);
  if (call == Call::kDone) (void)client->done(patience);
}

// u8 which of the ranges, u8 pages: an answer to GET, with contents.
std::string criu_answers(std::string_view bytes) {
  std::string answers(4, '\0');
  while (bytes.size() >= 2) {
    const auto which = static_cast<uint8_t>(bytes[0]), pages = static_cast<uint8_t>(bytes[1]);
    const Range& range = kAsked[which % 3];
    const CriuHeader header = {.command = criu_command(kCriuAddFlags, which >> 2 & 4), .padding = 0, .pages = pages, .vaddr = range.address + (which >> 6) * kPageSize, .object = id_of(range.object)};
    answers.append(reinterpret_cast<const char*>(&header), sizeof header);
    answers.append(std::min<size_t>(pages, 4) * kPageSize, 'x');
    bytes.remove_prefix(2);
  }
  return answers.append(bytes);
}

// Contents of a run, packed as they are to be.
std::string run_of(Encoding encoding, uint8_t pages, std::string_view bytes) {
  const RunHeader header = {.object = kObject, .address = 0x10000, .pages = pages, .encoding = encoding};
  std::string run(reinterpret_cast<const char*>(&header), sizeof header);
  if (encoding == Encoding::kRaw) return run.append(pages * kPageSize, 'r');
  if (encoding == Encoding::kZero || pages == 0) return run;
  std::vector<std::byte> contents(pages * kPageSize), packed(contents.size());
  std::memcpy(contents.data(), bytes.data(), std::min(bytes.size(), contents.size()));
  const size_t size = pack(encoding, contents, packed);
  run.append(reinterpret_cast<const char*>(packed.data()), size);
  // Damaged where the harness is told to.
  if (bytes.size() >= 2 && size > 0) run[sizeof header + static_cast<uint8_t>(bytes[0]) % size] ^= bytes[1];
  return run;
}

std::string greeting() {
  std::string frames(kHelloAnswer);
  append_frame(frames, FrameType::kReady, kLast, 0, encode(Ready{.compressed = Encoding::kZstd}));
  return frames;
}

// u8 type, u8 flags, u8 id, u8 kind, u16 size, payload. Types and numbers that a server uses are near. Of pages, `kind` makes a run that is packed, or takes the payload as it is; of a text it
// tells how often it is repeated.
std::string frames_of(std::string_view bytes) {
  std::string frames = greeting();
  while (bytes.size() >= 6) {
    uint16_t size;
    std::memcpy(&size, bytes.data() + 4, sizeof size);
    const auto first = static_cast<uint8_t>(bytes[0]), flags = static_cast<uint8_t>(bytes[1]), id = static_cast<uint8_t>(bytes[2]), kind = static_cast<uint8_t>(bytes[3]);
    const auto type = static_cast<FrameType>(first < 0xf0 ? static_cast<unsigned>(FrameType::kReady) + first % 9 : first);
    const size_t n = std::min<size_t>(size % 2048, bytes.size() - 6);
    std::string payload(bytes.substr(6, n));
    if (type == FrameType::kPages && kind < 0xf0) payload = run_of(static_cast<Encoding>(kind % 4), kind / 4, payload);
    if (type == FrameType::kText)
      for (unsigned i = 0; i < kind && payload.size() < kMaxPayload / 4; ++i) payload += payload;
    append_frame(frames, type, flags, id < 0xf0 ? id % 4 : id, payload);
    bytes.remove_prefix(6 + n);
  }
  return frames;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 3) {
    receive(frames_of({}), SIZE_MAX / 2, SIZE_MAX, Call::kNone);  // the fuzzer gives up if its first input, which is empty, reaches nothing
    return 0;
  }
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 3, size - 3);
  const size_t step = data[1] == 0 ? SIZE_MAX / 2 : data[1] * 16;
  const auto call = static_cast<Call>(data[2] % static_cast<unsigned>(Call::kCount));
  if (data[0] % 4 == 0) receive(std::string(bytes), step, kHelloAnswer.size(), call);
  else if (data[0] % 4 == 1) receive(criu_answers(bytes), step, kHelloAnswer.size(), call);
  else if (data[0] % 4 == 2) receive(frames_of(bytes), step, greeting().size(), call);
  else (void)parse_listing(std::string(bytes));
  return 0;
}
