// fuzz-sources: core/base/*.cc core/image/*.cc
// fuzz-seeds: images
//
// Any bytes as an image: found by its magic number, shown as JSON, parsed into plain structs, written again.
// Beyond "no crash": the two ways of taking a message apart (protobuf's classes for restore, our tables for decode) must agree on what
// is well-formed, and what was parsed must come back from the wire as it was.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <string>

#include "core/image/image_dir.h"
#include "core/image/json.h"
#include "tests/fuzz/require.h"

using namespace faultline;
using namespace faultline::image;

namespace {

// Whether all entries from here on parse; each that does must survive the way to the wire and back.
template <typename Message>
bool all_parse(Reader& reader) {
  for (;;) {
    const auto bytes = reader.next_bytes();
    if (!bytes) return false;
    if (!*bytes) return true;
    Message message;
    std::string why, once, twice;
    if (!parse(**bytes, message, why)) return false;
    append(message, once);
    Message again;
    require(parse(once, again, why), "what we wrote cannot be read");
    append(again, twice);
    require(once == twice, "what we wrote reads otherwise");
  }
}

// nullopt for kinds that are not compared (those with payloads).
std::optional<bool> well_formed(Reader& reader) {
  const std::string_view name = reader.kind().message;
  if (reader.kind().payload != Payload::kNone) return std::nullopt;
  if (!reader.kind().first.empty()) {
    const auto head = reader.next<PagemapHead>();
    if (!head) return false;
    return !*head || all_parse<PagemapEntry>(reader);
  }
  if (name == "inventory_entry") return all_parse<InventoryEntry>(reader);
  if (name == "pstree_entry") return all_parse<PstreeEntry>(reader);
  if (name == "seccomp_entry") return all_parse<SeccompEntry>(reader);
  if (name == "core_entry") return all_parse<CoreEntry>(reader);
  if (name == "task_kobj_ids_entry") return all_parse<TaskKobjIdsEntry>(reader);
  if (name == "mm_entry") return all_parse<MmEntry>(reader);
  if (name == "fs_entry") return all_parse<FsEntry>(reader);
  if (name == "fdinfo_entry") return all_parse<FdinfoEntry>(reader);
  if (name == "file_entry") return all_parse<FileEntry>(reader);
  if (name == "remap_file_path_entry") return all_parse<RemapFilePathEntry>(reader);
  if (name == "memfd_inode_entry") return all_parse<MemfdInodeEntry>(reader);
  if (name == "tty_info_entry") return all_parse<TtyInfoEntry>(reader);
  if (name == "tty_data_entry") return all_parse<TtyDataEntry>(reader);
  if (name == "timens_entry") return all_parse<TimensEntry>(reader);
  if (name == "stats_entry") return all_parse<StatsEntry>(reader);
  if (name == "cgroup_entry") return all_parse<CgroupEntry>(reader);
  if (name == "mnt_entry") return all_parse<MntEntry>(reader);
  if (name == "netns_entry") return all_parse<NetnsEntry>(reader);
  return std::nullopt;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const int fd = ::memfd_create("fuzz", MFD_CLOEXEC);
  require(fd >= 0 && ::ftruncate(fd, 0) == 0 && ::pwrite(fd, data, size, 0) == static_cast<ssize_t>(size), "the memfd cannot be written");

  const auto json = decode_json(fd, "fuzz.img");
  if (json) {
    for (const char c : *json) require(c == '\n' || (c >= ' ' && c < 0x7f), "JSON that is not printable ASCII");
  } else {
    require(json.error().what.starts_with("fuzz.img: at offset "), "an error that does not name file and offset");
  }
  auto reader = Reader::open_any(fd, "fuzz.img");
  if (!reader) return 0;
  if (const auto good = well_formed(*reader))
    require(*good == json.has_value(), "protobuf and our tables do not agree on what is well-formed");
  return 0;
}
