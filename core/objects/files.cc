// Dump side of files: which descriptors lead to the same open file description, and what kind it is.
#include "core/objects/files.h"

#include <dirent.h>
#include <linux/kcmp.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <tuple>

#include "core/base/log.h"
#include "core/objects/socket.h"
#include "core/sys/proc.h"

#ifndef PIDFD_THREAD
#define PIDFD_THREAD O_EXCL
#endif

namespace faultline::objects {

namespace {

// The numbers in /proc/TID/fd, ascending.
Result<std::vector<int>> numbers_of(pid_t tid) {
  const std::string path = fmt::format("/proc/{}/fd", tid);
  DIR* dir = ::opendir(path.c_str());
  if (!dir) return sys_error("{}", path);
  std::vector<int> numbers;
  while (const dirent* entry = ::readdir(dir)) {
    int number = 0;
    const char* end = entry->d_name + std::strlen(entry->d_name);
    if (std::from_chars(entry->d_name, end, number).ptr == end) numbers.push_back(number);
  }
  ::closedir(dir);
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

// A thread of the process that is not a zombie: the leader may end before the others, and has no descriptors then.
Result<pid_t> living_thread(pid_t pid) {
  for (pid_t tid : TRY(sys::threads_of(pid))) {
    if (tid == pid) {
      const auto stat = sys::read_stat(pid);
      if (stat && stat->ended()) continue;
    }
    return tid;
  }
  return error(ESRCH, "pid {} has no living thread", pid);
}

struct Known { pid_t tid; int number; uint32_t id; };
// What a person calls a file that no kind recognises.
std::string unknown_kind(const FdView& fd) {
  if (!S_ISSOCK(fd.st.st_mode)) return "this kind of file is";
  const int family = socket_option(fd.copy.get(), SOL_SOCKET, SO_DOMAIN);
  const char* name = family == AF_NETLINK ? "netlink" : family == AF_PACKET ? "packet" : family == AF_VSOCK ? "vsock" : family == AF_ALG ? "crypto (AF_ALG)" : "";
  return *name ? fmt::format("{} sockets are", name) : fmt::format("sockets of family {} are", family);
}

using Bucket = std::vector<Known>;  // in the kernel's order of open file descriptions

}  // namespace

struct FileCollector::State {
  Collected collected;
  // kcmp(2) is asked only among files that look alike.
  std::map<std::tuple<dev_t, ino_t, mode_t, std::string>, Bucket> known;
  std::map<std::tuple<dev_t, ino_t, std::string, uint32_t>, uint32_t> paths;
  std::map<std::pair<uint32_t /*inode_id*/, uint32_t /*flags*/>, uint32_t> memory;

  // Finds the open file description of `fd` in its bucket, or the place where it belongs.
  Result<std::pair<Bucket::iterator, bool>> find(Bucket& bucket, const FdView& fd) const {
    auto low = bucket.begin(), high = bucket.end();
    while (low != high) {
      const auto middle = low + (high - low) / 2;
      const long order = ::syscall(SYS_kcmp, fd.tid, middle->tid, KCMP_FILE, fd.number, middle->number);
      if (order < 0) return sys_error("{} cannot be compared with descriptor {} of pid {} (kcmp)", fd.name(), middle->number, middle->tid);
      if (order == 0) return std::pair(middle, true);
      if (order == 1) high = middle;
      else low = middle + 1;
    }
    return std::pair(low, false);
  }

  Result<uint32_t> add(const FdView& fd) {
    for (const FileKind* kind : file_kinds()) {
      if (!kind->recognises(fd)) continue;
      image::FileEntry entry;
      entry.type = kind->type();
      entry.id = ++collected.last_id;
      TRY(kind->collect(fd, collected, entry));
      const uint32_t id = entry.id;
      collected.add(std::move(entry));
      return id;
    }
    return fd.refuse(fmt::format("{} not supported yet; let the program close it first", unknown_kind(fd)));
  }

  Result<image::FdinfoEntry> descriptor(pid_t pid, pid_t tid, int pidfd, int number) {
    const FdView fd = TRY(FdView::take(pid, tid, pidfd, number));
    if (fd.line("lock")) return fd.refuse("the process holds a file lock or lease on it, and these are not supported yet");
    Bucket& bucket = known[{fd.st.st_dev, fd.st.st_ino, fd.st.st_mode & S_IFMT, fd.link}];
    const auto [at, found] = TRY(find(bucket, fd));
    const uint32_t id = found ? at->id : TRY(add(fd));
    if (!found) bucket.insert(at, {tid, number, id});
    collected.holders[id].push_back({pid, tid, number});
    collected.by_number[{pid, number}] = id;
    image::FdinfoEntry entry;
    entry.id = id;
    entry.flags = fd.cloexec ? FD_CLOEXEC : 0;
    entry.type = collected.file(id)->type;
    entry.fd = static_cast<uint32_t>(number);
    return entry;
  }
};

FileCollector::FileCollector(const FilePolicy& policy) : state_(std::make_unique<State>()) { state_->collected.policy = policy; }
FileCollector::~FileCollector() = default;

Result<void> FileCollector::tasks(std::vector<pid_t> pids) {
  state_->collected.pids = std::move(pids);
  return {};
}

Result<std::vector<image::FdinfoEntry>> FileCollector::descriptors(pid_t pid, int pidfd) {
  const pid_t tid = TRY(living_thread(pid));
  UniqueFd of_thread;
  if (tid != pid) {
    of_thread.reset(static_cast<int>(::syscall(SYS_pidfd_open, tid, PIDFD_THREAD)));
    if (!of_thread) return sys_error("pid {}: its leader has ended, and thread {} cannot be reached (pidfd_open)", pid, tid);
    pidfd = of_thread.get();
  }
  std::vector<image::FdinfoEntry> entries;
  for (int number : TRY(numbers_of(tid))) entries.push_back(TRY(state_->descriptor(pid, tid, pidfd, number)));
  return entries;
}

Result<uint32_t> FileCollector::path_file(const std::string& link, uint32_t flags) {
  OpenedPath path = {.who = link, .link = TRY(sys::read_link(link)), .reach = link, .st = {}, .flags = flags, .pos = 0, .fown = {}};
  if (::stat(link.c_str(), &path.st) < 0) return sys_error("{} ({})", link, path.link);
  const auto [at, fresh] = state_->paths.try_emplace({path.st.st_dev, path.st.st_ino, path.link, flags}, 0);
  if (!fresh) return at->second;
  Collected& c = state_->collected;
  image::FileEntry entry;
  entry.type = image::FdTypes::REG;
  entry.id = ++c.last_id;
  entry.reg = TRY(collect_path(path, entry.id, c));
  at->second = entry.id;
  c.add(std::move(entry));
  return at->second;
}

Result<uint32_t> FileCollector::shared_memory(const std::string& map_files_link, uint32_t flags) {
  Collected& c = state_->collected;
  struct stat st;
  const std::string link = TRY(sys::read_link(map_files_link));
  if (::stat(map_files_link.c_str(), &st) < 0) return sys_error("{} ({})", map_files_link, link);
  const uint32_t inode_id = TRY(collect_memory(map_files_link, link, st, map_files_link, c));
  const auto [at, fresh] = state_->memory.try_emplace({inode_id, flags}, 0);
  if (!fresh) return at->second;
  image::FileEntry entry;
  entry.type = image::FdTypes::MEMFD;
  entry.id = at->second = ++c.last_id;
  entry.memfd = image::MemfdFileEntry{.id = entry.id, .flags = flags, .pos = 0, .fown = {}, .inode_id = inode_id};
  c.add(std::move(entry));
  return at->second;
}

std::vector<SharedObject> FileCollector::take_shared_objects() { return std::move(state_->collected.shared); }

Result<void> FileCollector::complete() {
  for (const FileKind* kind : file_kinds()) TRY(kind->complete(state_->collected));
  return {};
}

namespace {

template <typename Entry>
Result<void> write_all_of(const image::ImageDir& dir, const char* file, const image::Kind& kind, const std::vector<Entry>& entries) {
  image::Writer writer = TRY(image::Writer::create(dir, file, kind));
  for (const Entry& entry : entries) {
    if constexpr (requires { entry.bytes; entry.entry; }) {
      TRY(writer.put(entry.entry));
      TRY(writer.payload(std::as_bytes(std::span(entry.bytes))));
    } else {
      TRY(writer.put(entry));
    }
  }
  return writer.close();
}

}  // namespace

Result<void> FileCollector::write(const image::ImageDir& dir) {
  const Collected& c = state_->collected;
  TRY(write_all_of(dir, "files.img", image::kFiles, c.files));
  TRY(write_all_of(dir, "remap-fpath.img", image::kRemapFpath, c.remaps));
  TRY(write_ghosts(c, dir));
  TRY(write_all_of(dir, "memfd.img", image::kMemfdInode, c.memfds));
  TRY(write_all_of(dir, "pipes-data.img", image::kPipesData, c.pipes));
  TRY(write_all_of(dir, "fifo-data.img", image::kFifoData, c.fifos));
  TRY(write_all_of(dir, "sk-queues.img", image::kSkQueues, c.packets));
  TRY(write_all_of(dir, "tty-info.img", image::kTtyInfo, c.ttys));
  return write_all_of(dir, "tty-data.img", image::kTtyData, std::vector<image::TtyDataEntry>());
}

}  // namespace faultline::objects
