// Contents of objects that images hold: deleted files, what waits in pipes and at sockets.
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstring>

#include "browse/text/forms.h"
#include "browse/text/parts.h"

namespace faultline::browse {

namespace {

class TextContent : public Content {
 public:
  explicit TextContent(std::string text) : text_(std::move(text)) {}
  uint64_t size() const override { return text_.size(); }
  Result<size_t> read(uint64_t offset, std::span<std::byte> to) const override {
    if (offset >= text_.size()) return size_t{0};
    const size_t n = std::min<uint64_t>(to.size(), text_.size() - offset);
    std::memcpy(to.data(), text_.data() + offset, n);
    return n;
  }

 private:
  const std::string text_;
};

class PieceContent : public Content {
 public:
  PieceContent(std::vector<Piece> pieces, uint64_t size) : pieces_(std::move(pieces)), size_(size) {}
  uint64_t size() const override { return size_; }

  Result<size_t> read(uint64_t offset, std::span<std::byte> to) const override {
    if (offset >= size_) return size_t{0};
    to = to.first(std::min<uint64_t>(to.size(), size_ - offset));
    std::ranges::fill(to, std::byte{0});
    const uint64_t end = offset + to.size();
    auto piece = std::ranges::upper_bound(pieces_, offset, {}, [](const Piece& p) { return p.at + p.size; });
    for (; piece != pieces_.end() && piece->at < end; ++piece) {
      const uint64_t from = std::max(offset, piece->at), until = std::min(end, piece->at + piece->size);
      TRY(fill(*piece, from, to.subspan(from - offset, until - from)));
    }
    return to.size();
  }

 private:
  static Result<void> fill(const Piece& piece, uint64_t from, std::span<std::byte> to) {
    uint64_t at = piece.in_image + (from - piece.at);
    while (!to.empty()) {
      const ssize_t n = ::pread(piece.image->fd(), to.data(), to.size(), static_cast<off_t>(at));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return sys_error("{} cannot be read", piece.image->name());
      if (n == 0) return error(EIO, "{} has become shorter while it was read", piece.image->name());
      to = to.subspan(static_cast<size_t>(n));
      at += static_cast<uint64_t>(n);
    }
    return {};
  }

  const std::vector<Piece> pieces_;
  const uint64_t size_;
};

constexpr size_t kQueueWeight = 64;  // per entry of an image

// Adds the entries of one image with payloads. What comes before damage counts.
template <typename Message, typename Where>
Result<void> collect(Snapshot& snapshot, const std::string& file, const image::Kind& kind, Queues& queues, const Where& where) {
  if (!snapshot.images().file(file)) return {};
  const auto reader = std::make_shared<image::Reader>(TRY(snapshot.reader(file, kind)));
  while (const auto message = TRY(reader->template next<Message>())) {
    const auto [id, size, rights] = where(*message);
    const uint64_t at = TRY(reader->skip(size));
    Queue& queue = queues[id];
    queue.pieces.push_back({reader, at, queue.size, size});
    queue.rights.push_back(rights);
    queue.size += size;
  }
  return {};
}

struct Entry { uint32_t id; uint64_t size; size_t rights; };

Entry of_pipe(const image::PipeDataEntry& entry) { return {entry.pipe_id, entry.bytes, 0}; }
Entry of_packet(const image::SkPacketEntry& entry) {
  size_t rights = 0;
  for (const image::ScmEntry& scm : entry.scm) rights += scm.rights.size();
  return {entry.id_for, entry.length, rights};
}

size_t weight_of(Snapshot& snapshot, const std::string& file) {
  constexpr size_t kBytesPerEntry = 8;
  const auto* listed = snapshot.images().file(file);
  return kQueueWeight + (listed ? std::min<uint64_t>(listed->size / kBytesPerEntry * kQueueWeight, 1 << 20) : 0);
}

}  // namespace

std::shared_ptr<const Content> content_of(std::string text) { return std::make_shared<TextContent>(std::move(text)); }

std::shared_ptr<const Content> content_of(std::vector<Piece> pieces, uint64_t size) { return std::make_shared<PieceContent>(std::move(pieces), size); }

Snapshot::Shared<Queues> pipe_queues(Snapshot& snapshot) {
  return snapshot.cached<Queues>("text/pipes", weight_of(snapshot, "pipes-data.img"), [&]() -> Snapshot::Shared<Queues> {
    const auto queues = std::make_shared<Queues>();
    for (const auto& [file, kind] : {std::pair("pipes-data.img", &image::kPipesData), std::pair("fifo-data.img", &image::kFifoData)})
      if (auto done = collect<image::PipeDataEntry>(snapshot, file, *kind, *queues, of_pipe); !done) snapshot.note(done.error());
    return std::shared_ptr<const Queues>(queues);
  });
}

Snapshot::Shared<Queues> socket_queues(Snapshot& snapshot) {
  return snapshot.cached<Queues>("text/sockets", weight_of(snapshot, "sk-queues.img"), [&]() -> Snapshot::Shared<Queues> {
    const auto queues = std::make_shared<Queues>();
    if (auto done = collect<image::SkPacketEntry>(snapshot, "sk-queues.img", image::kSkQueues, *queues, of_packet); !done) snapshot.note(done.error());
    return std::shared_ptr<const Queues>(queues);
  });
}

std::optional<uint32_t> numbered(std::string_view name, std::string_view prefix, std::string_view suffix, int base) {
  if (name.size() <= prefix.size() + suffix.size() || !name.starts_with(prefix) || !name.ends_with(suffix)) return std::nullopt;
  const std::string_view digits = name.substr(prefix.size(), name.size() - prefix.size() - suffix.size());
  uint32_t number = 0;
  const auto [end, code] = std::from_chars(digits.data(), digits.data() + digits.size(), number, base);
  if (code != std::errc() || end != digits.data() + digits.size() || (digits.size() > 1 && digits[0] == '0')) return std::nullopt;
  return number;
}

Failure no_such(const std::string& folder, const std::string& name) { return error(ENOENT, "{}/{}: the checkpoint has nothing of this name", folder, name); }

}  // namespace faultline::browse
