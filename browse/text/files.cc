// files/: open files as JSON, and the contents of deleted files; pipes/: what waits in them.
#include <sys/stat.h>

#include <algorithm>
#include <set>

#include "browse/text/forms.h"
#include "browse/text/parts.h"
#include "core/image/json.h"

namespace faultline::browse {

namespace {

constexpr char kGhostPrefix[] = "ghost-";

std::string ghost_image(uint32_t id) { return fmt::format("ghost-file-{:x}.img", id); }

// The first entry of a ghost's image, and where each part of the contents stands.
struct Ghost {
  image::GhostFileEntry entry;
  std::vector<Piece> pieces;
  uint64_t size = 0;
};

Result<void> read_chunks(image::Reader& reader, std::shared_ptr<image::Reader> shared, Ghost& ghost) {
  ghost.size = ghost.entry.size.value_or(0);
  for (;;) {
    const uint64_t at = reader.offset();
    const auto chunk = TRY(reader.next<image::GhostChunkEntry>());
    if (!chunk) break;
    if (chunk->off > ghost.size || chunk->len > ghost.size - chunk->off) return reader.bad(at, "the chunk lies outside the file");
    ghost.pieces.push_back({shared, TRY(reader.skip(chunk->len)), chunk->off, chunk->len});
  }
  std::ranges::sort(ghost.pieces, {}, &Piece::at);
  for (size_t i = 1; i < ghost.pieces.size(); ++i)
    if (ghost.pieces[i].at < ghost.pieces[i - 1].at + ghost.pieces[i - 1].size) return reader.bad(0, "chunks overlap");
  return {};
}

Result<Ghost> read_ghost(Snapshot& snapshot, uint32_t id) {
  const auto reader = std::make_shared<image::Reader>(TRY(snapshot.reader(ghost_image(id), image::kGhostFile)));
  if (!reader->exists()) return error(ENOENT, "{}/{} is missing", snapshot.name(), ghost_image(id));
  auto entry = TRY(reader->next<image::GhostFileEntry>());
  if (!entry) return reader->bad(reader->offset(), "an entry is expected here");
  Ghost ghost{.entry = std::move(*entry)};
  if (ghost.entry.chunks.value_or(false)) {
    TRY(read_chunks(*reader, reader, ghost));
  } else if (ghost.entry.symlnk_target) {
    ghost.size = ghost.entry.symlnk_target->size();
  } else if (S_ISREG(ghost.entry.mode)) {
    ghost.size = reader->size() - reader->offset();
    ghost.pieces.push_back({reader, reader->offset(), 0, ghost.size});
  }
  return ghost;
}

bool is_ghost(const image::RemapFilePathEntry& remap) {
  return remap.remap_type ? *remap.remap_type == image::RemapType::GHOST : (remap.remap_id >> 31) != 0;
}

using Holders = std::map<uint32_t, std::vector<std::pair<uint32_t, uint32_t>>>;  // by file id: pid and descriptor

Snapshot::Shared<Holders> holders_of(Snapshot& snapshot) {
  constexpr size_t kWeight = 1 << 16;
  return snapshot.cached<Holders>("text/holders", kWeight, [&]() -> Snapshot::Shared<Holders> {
    const auto holders = std::make_shared<Holders>();
    for (const Process& process : snapshot.processes())
      if (const auto fds = if_readable(snapshot, snapshot.fds(process.pid)))
        for (const image::FdinfoEntry& fd : **fds) (*holders)[fd.id].emplace_back(process.pid, fd.fd);
    return std::shared_ptr<const Holders>(holders);
  });
}

Result<std::string> file_json(Snapshot& snapshot, const image::FileEntry& file) {
  image::JsonWriter out;
  out.open_object();
  out.key("path");
  const std::string path = snapshot.path_of(file.id);
  out.text(image::is_utf8(path) ? path : "");
  const auto holders = TRY(holders_of(snapshot));
  out.key("descriptors");
  out.open_array();
  if (const auto at = holders->find(file.id); at != holders->end())
    for (const auto& [pid, fd] : at->second) out.text(fmt::format("{}/fd/{}", pid, fd));
  out.close_array();
  if (const auto ghost = ghost_of(snapshot, file.id)) {
    out.key("contents");
    out.text(fmt::format("{}{:x}", kGhostPrefix, *ghost));
  }
  std::string bytes;
  image::append(file, bytes);
  out.key("entry");
  out.open_object();
  TRY(image::append_json(out, bytes, "file_entry"));
  out.close_object();
  out.close_object();
  return out.take() + "\n";
}

// By the numbers in front.
std::vector<std::string> names_of(const std::set<uint32_t>& numbers, const char* suffix = "") {
  std::vector<std::string> names;
  for (const uint32_t number : numbers) names.push_back(std::to_string(number) + suffix);
  std::ranges::sort(names);
  return names;
}

std::set<uint32_t> pipe_ids(Snapshot& snapshot) {
  std::set<uint32_t> ids;
  if (const auto files = if_readable(snapshot, snapshot.files()))
    for (const auto& [id, file] : **files) {
      if (file.pipe) ids.insert(file.pipe->pipe_id);
      if (file.fifo) ids.insert(file.fifo->pipe_id);
    }
  if (const auto queues = if_readable(snapshot, pipe_queues(snapshot)))
    for (const auto& [id, queue] : **queues) ids.insert(id);
  return ids;
}

}  // namespace

std::optional<uint32_t> ghost_of(Snapshot& snapshot, uint32_t file_id) {
  const auto remaps = if_readable(snapshot, snapshot.remaps());
  if (!remaps) return std::nullopt;
  const auto at = (*remaps)->find(file_id);
  if (at == (*remaps)->end() || !is_ghost(at->second)) return std::nullopt;
  return at->second.remap_type ? at->second.remap_id : at->second.remap_id & 0x7fffffff;
}

std::optional<Identity> ghost_identity(Snapshot& snapshot, uint32_t file_id) {
  constexpr uint32_t kMinorBits = 20;  // as in the kernel
  const auto id = ghost_of(snapshot, file_id);
  if (!id) return std::nullopt;
  const auto ghost = if_readable(snapshot, read_ghost(snapshot, *id));
  if (!ghost) return std::nullopt;
  const uint32_t device = ghost->entry.dev.value_or(0);
  return Identity{device >> kMinorBits, device & ((1u << kMinorBits) - 1), ghost->entry.ino.value_or(0)};
}

Names list_files(Snapshot& snapshot) {
  std::set<uint32_t> ids;
  if (const auto files = if_readable(snapshot, snapshot.files()))
    for (const auto& [id, file] : **files) ids.insert(id);
  std::vector<std::string> names = names_of(ids, ".json");
  for (const Images::File& file : snapshot.images().files())
    if (const auto id = numbered(file.name, "ghost-file-", ".img", 16)) names.push_back(fmt::format("{}{:x}", kGhostPrefix, *id));
  std::ranges::sort(names);
  return names;
}

Opened open_file(Snapshot& snapshot, const std::string& name) {
  if (const auto id = numbered(name, kGhostPrefix, "", 16)) {
    Ghost ghost = TRY(read_ghost(snapshot, *id));
    return ghost.entry.symlnk_target ? content_of(*ghost.entry.symlnk_target) : content_of(std::move(ghost.pieces), ghost.size);
  }
  const auto id = numbered(name, "", ".json");
  if (!id) return no_such("files", name);
  const auto files = TRY(snapshot.files());
  const auto at = files->find(*id);
  if (at == files->end()) return no_such("files", name);
  return content_of(TRY(file_json(snapshot, at->second)));
}

Names list_pipes(Snapshot& snapshot) { return names_of(pipe_ids(snapshot)); }

Opened open_pipe(Snapshot& snapshot, const std::string& name) {
  const auto id = numbered(name, "", "");
  const auto queues = TRY(pipe_queues(snapshot));
  if (id)
    if (const auto at = queues->find(*id); at != queues->end()) return content_of(at->second.pieces, at->second.size);
  if (id && pipe_ids(snapshot).contains(*id)) return content_of(std::string());
  return no_such("pipes", name);
}

}  // namespace faultline::browse
