#pragma once

#include <map>
#include <optional>
#include <string>

#include "browse/text/text.h"

namespace faultline::browse {

// The makers behind the tables of text.h; each says in its file what it shows.

using Process = Snapshot::Process;

Result<std::string> cmdline_text(Snapshot& snapshot, const Process& process);
Result<std::string> environ_text(Snapshot& snapshot, const Process& process);
Result<std::string> auxv_text(Snapshot& snapshot, const Process& process);
Result<std::string> comm_text(Snapshot& snapshot, const Process& process, uint32_t tid);
Result<std::string> status_text(Snapshot& snapshot, const Process& process, uint32_t tid);
Result<std::string> stat_text(Snapshot& snapshot, const Process& process, uint32_t tid);
Result<std::string> statm_text(Snapshot& snapshot, const Process& process);
Result<std::string> limits_text(Snapshot& snapshot, const Process& process);
Result<std::string> cgroup_text(Snapshot& snapshot, const Process& process);
Result<std::string> personality_text(Snapshot& snapshot, const Process& process);
Result<std::string> oom_score_adj_text(Snapshot& snapshot, const Process& process);
Result<std::string> loginuid_text(Snapshot& snapshot, const Process& process);
Result<std::string> maps_text(Snapshot& snapshot, const Process& process);
Result<std::string> smaps_text(Snapshot& snapshot, const Process& process);
Result<std::string> pagemap_text(Snapshot& snapshot, const Process& process);
Result<std::string> signals_text(Snapshot& snapshot, const Process& process);
Result<std::string> timers_text(Snapshot& snapshot, const Process& process);

Result<std::string> registers_json(Snapshot& snapshot, const Process& process, uint32_t tid);
Result<std::string> registers_text(Snapshot& snapshot, const Process& process, uint32_t tid);
Result<std::string> sigmask_text(Snapshot& snapshot, const Process& process, uint32_t tid);
Result<std::string> thread_signals_text(Snapshot& snapshot, const Process& process, uint32_t tid);
Result<std::string> sched_text(Snapshot& snapshot, const Process& process, uint32_t tid);
Result<std::string> creds_text(Snapshot& snapshot, const Process& process, uint32_t tid);
Result<std::string> altstack_text(Snapshot& snapshot, const Process& process, uint32_t tid);
Result<std::string> rseq_text(Snapshot& snapshot, const Process& process, uint32_t tid);
Result<std::string> robust_list_text(Snapshot& snapshot, const Process& process, uint32_t tid);

// What a process has as its controlling terminal.
struct Terminal {
  uint32_t device = 0;  // in the encoding of stat: 0 is none
  int32_t group = -1;   // in the foreground
};
Terminal terminal_of(Snapshot& snapshot, const Process& process);

// Device (as in an image: major << 20 | minor) and inode of a deleted file, by the id of its file entry; nullopt if no image tells.
struct Identity {
  uint32_t major = 0, minor = 0;
  uint64_t inode = 0;
};
std::optional<Identity> ghost_identity(Snapshot& snapshot, uint32_t file_id);
// The id of the ghost image of a file entry; nullopt if it is not a deleted file.
std::optional<uint32_t> ghost_of(Snapshot& snapshot, uint32_t file_id);

// Contents that stand in images: made of pieces, with zeros in between.
struct Piece {
  std::shared_ptr<const image::Reader> image;
  uint64_t in_image;  // where it stands there, bytes
  uint64_t at;        // in the contents
  uint64_t size;
};
std::shared_ptr<const Content> content_of(std::string text);
// `pieces` sorted by `at`, without overlaps, within `size`.
std::shared_ptr<const Content> content_of(std::vector<Piece> pieces, uint64_t size);

// The bytes that wait in pipes and FIFOs (by pipe id) or at sockets (by file id).
struct Queue {
  std::vector<Piece> pieces;  // one per entry of the image
  std::vector<size_t> rights;  // per piece: how many descriptors it carries
  uint64_t size = 0;
};
using Queues = std::map<uint32_t, Queue>;
Snapshot::Shared<Queues> pipe_queues(Snapshot& snapshot);
Snapshot::Shared<Queues> socket_queues(Snapshot& snapshot);

// Folders of object_folders().
using Names = Result<std::vector<std::string>>;
using Opened = Result<std::shared_ptr<const Content>>;
Names list_files(Snapshot& snapshot);
Opened open_file(Snapshot& snapshot, const std::string& name);
Names list_pipes(Snapshot& snapshot);
Opened open_pipe(Snapshot& snapshot, const std::string& name);
Names list_sockets(Snapshot& snapshot);
Opened open_socket(Snapshot& snapshot, const std::string& name);
Names list_shm(Snapshot& snapshot);
Opened open_shm(Snapshot& snapshot, const std::string& name);
Names list_ttys(Snapshot& snapshot);
Opened open_tty(Snapshot& snapshot, const std::string& name);
Names list_namespaces(Snapshot& snapshot);
Opened open_namespace(Snapshot& snapshot, const std::string& name);

// "PREFIX<number>SUFFIX", the number in this base, without leading zeros.
std::optional<uint32_t> numbered(std::string_view name, std::string_view prefix, std::string_view suffix, int base = 10);
Failure no_such(const std::string& folder, const std::string& name);

}  // namespace faultline::browse
