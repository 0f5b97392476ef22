// fuzz-sources: core/base/*.cc core/image/*.cc pageserver/session*.cc pageserver/chunk.cc pageserver/protocol.cc pageserver/compression.cc pageserver/listing.cc pageserver/page_source.cc pageserver/receiver.cc pageserver/stored_source.cc pageserver/stream.cc core/sys/file_limit.cc
// fuzz-seeds: none
//
// Any bytes as what a page server is sent. The first byte says how they are taken: as the bytes of a connection; as messages of Faultline's
// protocol, to which the harness adds the heads and checks that no mutation would find; or as what a dump sends.
// Beyond "no crash": everything that is answered is a well-formed frame, pages are those that were asked for, and little waits.
#include <fcntl.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <string>

#include "pageserver/receiver.h"
#include "pageserver/session.h"
#include "tests/fuzz/require.h"

using namespace faultline;
using namespace faultline::pageserver;

namespace {

// Has the pages below 1 MiB of every object, a few of them only by copy().
class Source final : public PageSource {
 public:
  static constexpr uint64_t kEnd = 1 << 20;

  Source() : file_(std::make_shared<UniqueFd>(::open("/dev/zero", O_RDONLY | O_CLOEXEC))) {}

  Result<Place> locate(const Range& range) override {
    if (range.address >= kEnd) return error(ENOENT, "no page there");
    const uint64_t pages = std::min({range.pages, (kEnd - range.address) / kPageSize, uint64_t{9}});
    return Place{.pages = pages, .fd = range.address % (5 * kPageSize) == 0 ? -1 : file_->get(), .offset = range.address};
  }
  Result<void> copy(const Range& range, std::span<std::byte> to) override {
    if (range.address == 10 * kPageSize) return error(ESRCH, "gone");
    std::memset(to.data(), 7, to.size());
    return {};
  }
  Result<std::shared_ptr<const std::string>> list_files() override { return std::make_shared<const std::string>("1 x.img\n"); }
  Result<ServedFile> open_file(const std::string& name) override {
    const auto text = std::make_shared<const std::string>(3000, 'x');
    const auto pages = std::make_shared<const std::vector<Range>>(std::vector<Range>{{object_id(1, kTaskMemory), 0, 30}, {object_id(1, kTaskMemory), kEnd, 1}});
    if (name == "t") return ServedFile{.fd = {}, .text = text, .pages = {}, .size = text->size()};
    if (name == "p") return ServedFile{.fd = {}, .text = {}, .pages = pages, .size = 31 * kPageSize};
    if (name == "f") return ServedFile{.fd = file_, .text = {}, .pages = {}, .size = 700001};
    if (name == "e") return ServedFile{};
    return error(ENOENT, "no such image");
  }

 private:
  const std::shared_ptr<UniqueFd> file_;
};

class OneSource final : public Sources {
 public:
  Result<std::shared_ptr<PageSource>> find(const std::string& name) override {
    if (name.size() > 3) return error(ENOENT, "no such checkpoint");
    return std::make_shared<Source>();
  }
  Result<std::string> names() override { return std::string("a\n"); }
};

void check_answers(std::string_view answers) {
  if (!answers.starts_with(kHelloAnswer)) return;  // CRIU's protocol
  auto rest = std::as_bytes(std::span(answers)).subspan(kHelloAnswer.size());
  while (!rest.empty()) {
    const auto frame = next_frame(rest);
    require(frame && *frame, "an answer that is no frame");
    require((*frame)->header.type >= FrameType::kReady, "an answer of a client's type");
    if ((*frame)->header.type == FrameType::kPages) require(decode_run((*frame)->payload).has_value(), "pages that a client refuses");
    rest = rest.subspan((*frame)->size());
  }
}

// Answers as a connection does. False: the connection ends.
bool answer(Session& session, Chunk& chunk, std::string& answers) {
  std::vector<std::byte> scratch;
  while (session.has_work()) {
    chunk.reset();
    if (!session.fill(chunk, Chunk::kSmall)) return false;
    chunk.read_all();
    if (!session.finish(chunk, scratch)) return false;
    for (const iovec& piece : chunk.iovecs()) answers.append(static_cast<const char*>(piece.iov_base), piece.iov_len);
    require(!chunk.empty(), "work that gives nothing");
    if (answers.size() > (64 << 20)) return false;
  }
  return true;
}

// What another thread would do is done here at once.
bool take(Session& session, std::string_view bytes) {
  bool good = session.take(std::as_bytes(std::span(bytes))).has_value();
  while (good) {
    const auto errand = session.take_errand();
    if (!errand) break;
    session.errand_done(errand());
    good = session.take({}).has_value();
  }
  return good;
}

void serve(std::string_view bytes, size_t step) {
  OneSource sources;
  Counters counters;
  {
    Session session(sources, counters, {.peer = "fuzz", .near = false, .compress = Compress::kAuto});
    auto chunk = Chunk::make(Chunk::kBig, counters);
    require(chunk.has_value(), "no memory");
    std::string answers;
    bool good = true;
    while (good && !bytes.empty()) {
      const size_t n = std::min(step, bytes.size());
      good = take(session, bytes.substr(0, n));
      bytes.remove_prefix(n);
      if (good) good = answer(session, **chunk, answers) && take(session, {});
      require(counters.queued <= 1024, "too much waits");
    }
    check_answers(answers);
  }
  require(counters.queued == 0 && counters.sessions == 0 && counters.buffer_bytes == 0, "counters that do not come back to nothing");
}

// u8 type, u8 flags, u16 size, payload.
std::string frames_of(std::string_view bytes) {
  const CriuHeader first = hello();
  std::string frames(reinterpret_cast<const char*>(&first), sizeof first);
  while (bytes.size() >= 4) {
    uint16_t size;
    std::memcpy(&size, bytes.data() + 2, sizeof size);
    const size_t n = std::min<size_t>(size % 2048, bytes.size() - 4);
    append_frame(frames, static_cast<FrameType>(bytes[0]), static_cast<uint8_t>(bytes[1]), frames.size(), bytes.substr(4, n));
    bytes.remove_prefix(4 + n);
  }
  return frames;
}

void receive(std::string_view bytes, size_t step) {
  static std::string path;
  if (path.empty()) path = [] {
    char name[] = "/dev/shm/faultline-fuzz.XXXXXX";
    require(::mkdtemp(name) != nullptr, "no directory");
    std::atexit([] { std::filesystem::remove_all(path); });
    return std::string(name);
  }();
  static const auto dir = image::ImageDir::open(path);
  require(dir.has_value(), "no directory");
  Receiver receiver(*dir);
  for (size_t at = 0; at < bytes.size(); at += step)
    if (!receiver.take(std::as_bytes(std::span(bytes.substr(at, step))))) break;
  (void)receiver.take_answers();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) {
    serve(frames_of({}), SIZE_MAX / 2);  // the fuzzer gives up if its first input, which is empty, reaches nothing
    return 0;
  }
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 2, size - 2);
  const size_t step = data[1] == 0 ? SIZE_MAX / 2 : data[1];
  if (data[0] % 3 == 0) serve(bytes, step);
  else if (data[0] % 3 == 1) serve(frames_of(bytes), step * 16);
  else receive(bytes, step);
  return 0;
}
