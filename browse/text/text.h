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
// Forms: cmdline, environ, comm, status, stat, statm, limits, maps, smaps, auxv, cgroup and fdinfo/<n> are those of /proc/<pid> on Linux 6.x,
// byte for byte where the images know the value. What they do not know is shown as the kernel shows "nothing":
//  * numbers of time, CPU, faults, waiting, cgroup and memory peaks: 0; nice, priority and policy are known. starttime is 0.
//  * stat: state R (alive), T (stopped), Z (dead); kstkesp and kstkeip are those of the registers; wchan and exit_signal 0 and 17.
//  * status: VmPeak and VmHWM are VmSize and VmRSS; RssAnon holds the pages stored, RssFile 0, RssShmem the stored pages of shared memory.
//    Seccomp_filters, Speculation*, voluntary_ctxt_switches, Cpus_allowed and Mems_allowed are not shown.
//  * maps, smaps: device and inode of a mapped file are those of the file on this machine if it still is the one of the dump, of deleted
//    files those of the ghost image, else 00:00 0. [vvar] and its neighbours are one area, names of anonymous memory are not recorded.
//  * smaps: Rss is what the images hold, all of it Private_Dirty or Shared_Dirty; Pss = Rss.
//  * fdinfo: mnt_id is 0 where no mount namespace was dumped; ino only where the images have it.

// A file of tasks/<pid>/.
struct TaskFile {
  const char* name;
  Result<std::string> (*make)(Snapshot& snapshot, const Snapshot::Process& process);
};
// cmdline comm environ status stat statm limits maps smaps auxv cgroup pagemap.json signals timers, and whatever else is useful.
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
