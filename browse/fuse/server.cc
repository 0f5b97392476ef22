#include "browse/fuse/server.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <atomic>
#include <cstdarg>
#include <cstdlib>

#include "browse/fuse/lone_reader.h"
#include "browse/fuse/read.h"
#include "core/base/log.h"
#include "core/base/scope_exit.h"

namespace faultline::browse {

namespace {

constexpr size_t kMostThreads = 8;
// So many requests in a row that have waited already: then a second thread helps.
constexpr int kBacklog = 4;
constexpr unsigned long kCloneDevice = _IOR(229, 0, uint32_t);  // FUSE_DEV_IOC_CLONE of linux/fuse.h

// The descriptor from which this thread has read its request: the answer must go the same way.
thread_local int own_fd = -1;
thread_local bool leading = false;

// What a thread has done for an answer comes before what another one does for a request that follows from it (open, read, release of one file).
// The order goes through the kernel, which is no part of C++'s memory model.
std::atomic<uint64_t> answered = 0;

ssize_t read_request(int, void* to, size_t size, void*) {
  const ssize_t n = ::read(own_fd, to, size);
  (void)answered.load(std::memory_order_acquire);
  return n;
}
ssize_t write_reply(int, iovec* parts, int count, void*) {
  answered.fetch_add(1, std::memory_order_release);
  return ::writev(own_fd, parts, count);
}
ssize_t splice_reply(int from, off_t* from_offset, int, off_t* to_offset, size_t size, unsigned flags, void*) {
  answered.fetch_add(1, std::memory_order_release);
  return ::splice(from, from_offset, own_fd, to_offset, size, flags);
}
constexpr fuse_custom_io kOwnReads = {.writev = write_reply, .read = read_request, .splice_receive = nullptr, .splice_send = splice_reply};

// The last thing that libfuse said: it has no other way to tell why a mount failed.
std::mutex said_mutex;
std::string said;

void on_message(fuse_log_level level, const char* format, va_list args) {
  char text[512];
  vsnprintf(text, sizeof text, format, args);
  std::string_view line(text);
  while (line.ends_with('\n')) line.remove_suffix(1);
  if (level <= FUSE_LOG_WARNING) LOG_DEBUG("{}", line);
  std::lock_guard lock(said_mutex);
  said = line;
}

std::string escaped_option(const std::string& key, const std::string& value) {
  std::string text = key + "=";
  for (const char c : value) {
    if (c == ',' || c == '\\') text += '\\';
    text += c;
  }
  return text;
}

}  // namespace

struct Server::Worker {
  UniqueFd polled;  // another descriptor of the same connection, which does not wait; none if there cannot be one
  fuse_buf buffer = {};

  Worker() = default;
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;
  ~Worker() { ::free(buffer.mem); }
};

Result<std::unique_ptr<Server>> Server::start(Tree& tree, const Options& options) {
  std::unique_ptr<Server> server(new Server(tree, options));
  server->ended_ = UniqueFd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!server->ended_) return sys_error("cannot make an eventfd");
  TRY(server->mount());
  std::lock_guard lock(server->mutex_);
  server->add_worker();
  return server;
}

Result<void> Server::mount() {
  fuse_set_log_func(on_message);
  std::string options = "ro,nosuid,nodev,default_permissions," + escaped_option("subtype", "faultline") + "," + escaped_option("fsname", options_.source);
  if (options_.allow_other) options += ",allow_other";
  const char* words[] = {"faultline", "-o", options.c_str()};
  fuse_args args = FUSE_ARGS_INIT(3, const_cast<char**>(words));
  session_.reset(fuse_session_new(&args, &operations(), sizeof(fuse_lowlevel_ops), &connection_));
  fuse_opt_free_args(&args);
  if (!session_) return error(EINVAL, "libfuse refuses to begin: {}", said);
  errno = 0;
  if (fuse_session_mount(session_.get(), options_.mountpoint.c_str()) != 0) {
    const int code = errno;
    return error(code ? code : EPERM, "cannot mount on {}: {}{}", options_.mountpoint, said.empty() ? errno_text(code) : said,
                 geteuid() != 0 ? "; without root it takes fusermount3 (Debian: fuse3), and write permission for the directory" : "");
  }
  own_fd = fuse_session_fd(session_.get());
  if (const int code = fuse_session_custom_io(session_.get(), &kOwnReads, own_fd); code != 0) return error(-code, "libfuse does not take the connection over");
  return {};
}

Server::~Server() {
  if (session_) unmount();
  for (auto& thread : threads_) thread.join();
  if (session_) fuse_session_unmount(session_.get());  // finds it unmounted, and forgets where that was
}

bool Server::unmount() {
  {
    std::lock_guard lock(mutex_);
    if (std::exchange(unmounted_, true) || ending_) return true;
  }
  const char* path = options_.mountpoint.c_str();
  if (::umount2(path, UMOUNT_NOFOLLOW) == 0) return true;
  if (errno == EBUSY) {
    // Cut off at once, so that nobody waits for answers that do not come.
    ::umount2(path, MNT_FORCE | MNT_DETACH | UMOUNT_NOFOLLOW);
    return false;
  }
  if (errno == EPERM) fuse_session_unmount(session_.get());  // mounted by fusermount3, which unmounts it too
  return true;
}

bool Server::join(std::chrono::milliseconds limit) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, limit, [&] { return running_ == 0; });
}

void Server::add_worker() {
  ++running_;
  threads_.emplace_back([this] { work(); });
}

void Server::hand_over() {
  if (!leading) return;
  std::lock_guard lock(mutex_);
  if (parked_ == 0 && threads_.size() >= kMostThreads) return;  // all of them do something long: this one too
  if (parked_ == 0) add_worker();
  leading = led_ = false;
  changed_.notify_one();
}

void Server::call_helper() {
  std::lock_guard lock(mutex_);
  if (helped_ || help_wanted_) return;
  if (parked_ == 0 && threads_.size() >= kMostThreads) return;
  if (parked_ == 0) add_worker();
  help_wanted_ = true;
  changed_.notify_one();
}

void Server::work() {
  LoneReader::unbind();
  Worker worker;
  const int device = fuse_session_fd(session_.get());
  if (UniqueFd clone(::open("/dev/fuse", O_RDWR | O_CLOEXEC | O_NONBLOCK)); clone) {
    auto number = static_cast<uint32_t>(device);
    if (::ioctl(clone.get(), kCloneDevice, &number) == 0) worker.polled = std::move(clone);
  }
  std::unique_lock lock(mutex_);
  while (!ending_) {
    if (!led_) {
      led_ = leading = true;
      lock.unlock();
      lead(worker);
      lock.lock();
    } else if (help_wanted_) {
      help_wanted_ = false;
      helped_ = true;
      lock.unlock();
      help(worker);
      lock.lock();
      helped_ = false;
    } else {
      ++parked_;
      changed_.wait(lock);
      --parked_;
    }
  }
  --running_;
  changed_.notify_all();
}

Server::Got Server::answer_one(Worker& worker, bool wait) {
  if (!wait && !worker.polled) return Got::kNothing;
  own_fd = wait ? fuse_session_fd(session_.get()) : worker.polled.get();
  const int got = fuse_session_receive_buf(session_.get(), &worker.buffer);
  if (got == -EINTR || got == -EAGAIN) return Got::kNothing;
  if (got <= 0) return Got::kEnd;
  fuse_session_process_buf(session_.get(), &worker.buffer);
  if (!begun_.exchange(true)) enlarge_reads();
  return Got::kRequest;
}

void Server::enlarge_reads() {
  struct statx st;
  // Without asking the file system itself: that would be us.
  if (::statx(AT_FDCWD, options_.mountpoint.c_str(), AT_STATX_DONT_SYNC | AT_SYMLINK_NOFOLLOW, 0, &st) != 0) return;
  const std::string file = fmt::format("/sys/class/bdi/{}:{}/read_ahead_kb", st.stx_dev_major, st.stx_dev_minor);
  const std::string size = std::to_string(kLargestRead >> 10);
  const UniqueFd fd(::open(file.c_str(), O_WRONLY | O_CLOEXEC));
  // Without root, or in a container: then reads are smaller.
  if (!fd || ::write(fd.get(), size.data(), size.size()) < 0) LOG_DEBUG("mount: read-ahead stays as the kernel has it: {}: {}", file, errno_text(errno));
}

void Server::lead(Worker& worker) {
  int backlog = 0;
  while (leading) {
    Got got = answer_one(worker, false);
    if (got == Got::kRequest && ++backlog >= kBacklog) call_helper();
    if (got == Got::kNothing) {
      backlog = 0;
      got = answer_one(worker, true);
    }
    if (got == Got::kEnd) return end();
  }
}

void Server::help(Worker& worker) {
  for (;;) {
    const Got got = answer_one(worker, false);
    if (got == Got::kNothing) return;
    if (got == Got::kEnd) return end();
  }
}

void Server::end() {
  std::lock_guard lock(mutex_);
  ending_ = true;
  leading = false;
  const uint64_t one = 1;
  (void)!::write(ended_.get(), &one, sizeof one);
  changed_.notify_all();
}

}  // namespace faultline::browse
