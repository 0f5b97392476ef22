#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "browse/snapshot.h"

namespace faultline::browse {

// What the tree of a mounted checkpoint holds as text, and the bytes of small objects. Everything is made on demand, from the images alone;
// nothing is written or remembered but in the snapshot's cache. All of it is safe from any thread.
// Errors of whatever makes or opens something: ENOENT if the image that it stands in is missing (an unfinished dump, a dead process), EBADMSG
// if that is malformed, EIO for memory that is lost. A part that only adds to a text is left out of it instead, with a line in the log (Snapshot::note).
//
// Forms: auxv, cgroup, cmdline, comm, environ, limits, loginuid, maps, oom_score_adj, personality, smaps, stat, statm, status and fdinfo/<n> are those of
// /proc/<pid> on Linux 6.x, byte for byte where the images know the value. What they do not know is shown as the kernel shows "nothing", or its line is left out:
//  * times, faults, waiting, processor, context switches and page tables: 0. The root's parent: 0. TracerPid: 0.
//  * state: R for all that was not stopped (T) or dead (Z).
//  * stat: kstkesp and kstkeip are those of the registers, which the kernel hides.
//  * status: VmPeak and VmHWM are VmSize and VmRSS; RssAnon is what is stored of private memory, RssFile 0, RssShmem what is stored of shared memory. FDSize is
//    computed from the highest descriptor. Seccomp_filters, Speculation_*, Cpus_allowed and Mems_allowed are left out.
//  * maps, smaps: device and inode of a mapped file are those of the file on this machine if it still is the one of the dump, of deleted
//    files those of the ghost image, else 00:00 0. [vvar] and [vvar_vclock] are one area, names of anonymous memory are not recorded.
//  * smaps: Rss, Pss and Referenced are what the images hold, all of it Private_Dirty or Shared_Dirty. "ac" stands with areas that can be written now.
//  * cgroup: empty for processes in the cgroups of whoever made the checkpoint; hierarchies of version 1 are numbered from 1.
//  * fdinfo: mnt_id is 0 where no mount namespace was dumped; ino only of what has it in the images (pipes, sockets, shared memory, deleted files);
//    eventfd-id and locks are left out; timers as they stood at the dump.

// A file of tasks/<pid>/.
struct TaskFile {
  const char* name;
  Result<std::string> (*make)(Snapshot& snapshot, const Snapshot::Process& process);
};
// auxv cgroup cmdline comm environ limits loginuid maps oom_score_adj pagemap.json personality signals smaps stat statm status timers
//  * pagemap.json: an array, per run of pages that are stored, shared or lost {"start", "end", "pages", "kind"}; unchanged pages of files and zeros are not there.
//  * signals: what is pending, what each thread blocks, which actions are not the default; timers: itimers and POSIX timers. In words.
// A dead process (zombie) has no memory: cmdline, environ, maps, smaps and auxv are empty, as in /proc.
std::span<const TaskFile> task_files();
// exe cwd root: where these links lead. Errors: ENOENT for a dead process.
std::span<const TaskFile> task_links();

// A file of tasks/<pid>/threads/<tid>/. `tid` is one of process.threads.
struct ThreadFile {
  const char* name;
  Result<std::string> (*make)(Snapshot& snapshot, const Snapshot::Process& process, uint32_t tid);
};
// comm status stat regs.json regs.txt sigmask signals sched creds altstack rseq robust_list
std::span<const ThreadFile> thread_files();

// tasks/<pid>/fd/<n> leads to Snapshot::path_of(entry.id), for each entry of Snapshot::fds(pid). This is tasks/<pid>/fdinfo/<n>.
Result<std::string> fdinfo_text(Snapshot& snapshot, const image::FdinfoEntry& entry);

// Contents that are read piece by piece. Immutable.
class Content {
 public:
  virtual ~Content() = default;
  // In bytes; exact.
  virtual uint64_t size() const = 0;
  // Gives fewer bytes than there is room for only at the end. Errors: EIO.
  virtual Result<size_t> read(uint64_t offset, std::span<std::byte> to) const = 0;
};

// One of the folders of objects that tasks share. All of them are flat.
struct ObjectFolder {
  const char* name;
  // The names of its files, sorted. What no image tells of is not there; a missing image is an empty folder.
  Result<std::vector<std::string>> (*list)(Snapshot& snapshot);
  // Errors also: ENOENT if there is no such name.
  Result<std::shared_ptr<const Content>> (*open)(Snapshot& snapshot, const std::string& name);
};
// files/    <id>.json              an open file: its entry, path, and which descriptors lead to it
//           ghost-<id>             the contents of a deleted file (id as in the name of its image, hexadecimal)
// pipes/    <pipe_id>              the bytes in a pipe or FIFO
// sockets/  <ino>                  text
//           <ino>.queue            what it has not read yet: the packets one after the other, or the receive queue of a TCP connection
//           <ino>.out              the send queue of a TCP connection
// shm/      <shmid>.txt            a description; the contents shm/<shmid> are Snapshot::shared_pages()
// ttys/     <name>                 text
// ns/       uts-<id> user-<id> time-<id> ipc-<id> mnt-<id> net-<id>    text; mnt in the form of /proc/<pid>/mountinfo
//           net-<id>.iptables net-<id>.ip6tables net-<id>.nftables     rules, as text
std::span<const ObjectFolder> object_folders();

// The length in bytes of a shared memory object, so far as the images tell (else the end of its last stored page).
uint64_t shared_object_size(Snapshot& snapshot, uint64_t shmid);

}  // namespace faultline::browse
