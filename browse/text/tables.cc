#include "browse/text/parts.h"

namespace faultline::browse {

namespace {

// Texts of a process that are those of its first thread.
template <auto make>
Result<std::string> of_leader(Snapshot& snapshot, const Process& process) {
  return make(snapshot, process, process.pid);
}

Result<std::string> exe_link(Snapshot& snapshot, const Process& process) { return snapshot.path_of(TRY(snapshot.mm(process.pid))->exe_file_id); }
Result<std::string> cwd_link(Snapshot& snapshot, const Process& process) { return snapshot.path_of(TRY(snapshot.fs(process.pid))->cwd_id); }
Result<std::string> root_link(Snapshot& snapshot, const Process& process) { return snapshot.path_of(TRY(snapshot.fs(process.pid))->root_id); }

constexpr TaskFile kTaskFiles[] = {
    {"auxv", auxv_text},
    {"cgroup", cgroup_text},
    {"cmdline", cmdline_text},
    {"comm", of_leader<comm_text>},
    {"environ", environ_text},
    {"limits", limits_text},
    {"loginuid", loginuid_text},
    {"maps", maps_text},
    {"oom_score_adj", oom_score_adj_text},
    {"pagemap.json", pagemap_text},
    {"personality", personality_text},
    {"signals", signals_text},
    {"smaps", smaps_text},
    {"stat", of_leader<stat_text>},
    {"statm", statm_text},
    {"status", of_leader<status_text>},
    {"timers", timers_text},
};

constexpr TaskFile kTaskLinks[] = {
    {"cwd", cwd_link},
    {"exe", exe_link},
    {"root", root_link},
};

constexpr ThreadFile kThreadFiles[] = {
    {"altstack", altstack_text},
    {"comm", comm_text},
    {"creds", creds_text},
    {"regs.json", registers_json},
    {"regs.txt", registers_text},
    {"robust_list", robust_list_text},
    {"rseq", rseq_text},
    {"sched", sched_text},
    {"sigmask", sigmask_text},
    {"signals", thread_signals_text},
    {"stat", stat_text},
    {"status", status_text},
};

constexpr ObjectFolder kObjectFolders[] = {
    {"files", list_files, open_file},
    {"ns", list_namespaces, open_namespace},
    {"pipes", list_pipes, open_pipe},
    {"shm", list_shm, open_shm},
    {"sockets", list_sockets, open_socket},
    {"ttys", list_ttys, open_tty},
};

}  // namespace

std::span<const TaskFile> task_files() { return kTaskFiles; }
std::span<const TaskFile> task_links() { return kTaskLinks; }
std::span<const ThreadFile> thread_files() { return kThreadFiles; }
std::span<const ObjectFolder> object_folders() { return kObjectFolders; }

}  // namespace faultline::browse
