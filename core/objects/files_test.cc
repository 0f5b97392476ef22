// Each case: a child sets up descriptors and waits; they are collected, written, read back, opened again, and given to another child, which
// looks at what it got.
#include "core/objects/files.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <csignal>
#include <cstring>
#include <functional>

#include "core/image/scratch_dir.h"
#include "core/sys/proc.h"

namespace faultline::objects {

namespace {

using image::ScratchDir;

// In the children, where Catch cannot be used: says which line failed and ends.
#define CHILD_CHECK(condition)                                                        \
  do {                                                                                \
    if (!(condition)) {                                                               \
      ::dprintf(kReport, "line %d: %s (errno %d)", __LINE__, #condition, errno);       \
      ::_exit(1);                                                                     \
    }                                                                                 \
  } while (0)

constexpr int kReport = 150;     // where children report
constexpr int kFirstFd = 200;

// A process that runs `body` and then waits to be killed; ready() returns when body is done.
class Child {
 public:
  explicit Child(const std::function<void()>& body) {
    int fds[2];
    REQUIRE(::pipe(fds) == 0);
    pid_ = ::fork();
    if (pid_ == 0) {
      ::dup2(fds[1], kReport);
      ::close_range(0, kReport - 1, 0);
      ::close_range(kReport + 1, ~0u, 0);
      for (int i = 0; i < 3; ++i) ::open("/dev/null", O_RDWR);
      body();
      ::close(kReport);
      for (;;) ::pause();
    }
    ::close(fds[1]);
    // Ends when the child has closed its end, or died.
    for (char c; ::read(fds[0], &c, 1) == 1;) report_ += c;
    ::close(fds[0]);
    pidfd_.reset(static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0)));
  }
  ~Child() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  pid_t pid() const { return pid_; }
  int pidfd() const { return pidfd_.get(); }
  const std::string& report() const { return report_; }

 private:
  pid_t pid_ = 0;
  UniqueFd pidfd_;
  std::string report_;
};

// The checkpoint of one process, as far as files are concerned.
Result<image::Checkpoint> collect(const Child& child, const image::ImageDir& dir) {
  FileCollector collector({});
  TRY(collector.tasks({child.pid()}));
  image::Task task;
  task.tree.pid = static_cast<uint32_t>(child.pid());
  task.fds = TRY(collector.descriptors(child.pid(), child.pidfd()));
  TRY(collector.complete());
  TRY(collector.write(dir));
  image::Checkpoint c;
  c.tasks.push_back(std::move(task));
  for (image::FileEntry& file : TRY(image::read_all<image::FileEntry>(dir, "files.img", image::kFiles))) c.files.emplace(file.id, file);
  c.remaps = TRY(image::read_all<image::RemapFilePathEntry>(dir, "remap-fpath.img", image::kRemapFpath));
  c.memfds = TRY(image::read_all<image::MemfdInodeEntry>(dir, "memfd.img", image::kMemfdInode));
  c.ttys = TRY(image::read_all<image::TtyInfoEntry>(dir, "tty-info.img", image::kTtyInfo));
  for (const auto& [name, kind, to] : {std::tuple("pipes-data.img", &image::kPipesData, &c.pipes), {"fifo-data.img", &image::kFifoData, &c.fifos}}) {
    auto reader = TRY(image::Reader::open(dir, name, *kind));
    while (auto entry = TRY(reader.next<image::PipeDataEntry>())) to->push_back({*entry, TRY(reader.payload(entry->bytes))});
  }
  auto reader = TRY(image::Reader::open(dir, "sk-queues.img", image::kSkQueues));
  while (auto entry = TRY(reader.next<image::SkPacketEntry>())) c.packets.push_back({*entry, TRY(reader.payload(entry->length))});
  return c;
}

// Runs in a child that shall become the restored process.
void become(const FileRebuilder& files, const image::Task& task) {
  for (const bool relations : {false, true}) {
    agent::Program program;
    if (relations) files.rebuild_relations(task, program);
    else files.rebuild_descriptors(task, program);
    alignas(16) static std::byte memory[1 << 16];
    program.load(reinterpret_cast<Vaddr>(memory), memory);
    agent::Barrier barrier = {};
    agent::faultline_agent_run(reinterpret_cast<agent::ProgramHeader*>(memory), &barrier);
    const auto done = program.take_results(memory);
    if (!done) {
      ::dprintf(kReport, "%s", done.error().what.c_str());
      ::_exit(1);
    }
  }
}

void round_trip(const std::function<void()>& set_up, const std::function<void()>& look, const std::function<void()>& between = [] {}) {
  ScratchDir scratch;
  const image::ImageDir dir = scratch.dir();
  auto child = std::make_unique<Child>(set_up);
  REQUIRE(child->report() == "");
  const auto checkpoint = collect(*child, dir);
  if (!checkpoint) FAIL(checkpoint.error().what);
  child.reset();
  between();
  auto files = FileRebuilder::plan(*checkpoint, dir, {});
  if (!files) FAIL(files.error().what);
  const auto opened = files->open_all(kFirstFd);
  if (!opened) FAIL(opened.error().what);
  int fds[2];
  REQUIRE(::pipe(fds) == 0);
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::dup3(fds[1], 900, O_CLOEXEC);
    ::setsid();
    become(*files, checkpoint->tasks[0]);
    ::close_range(kFirstFd, 899, 0);
    ::dup2(900, kReport);
    ::close(900);
    look();
    ::_exit(0);
  }
  files->close_all();
  ::close(fds[1]);
  std::string report;
  for (char c; ::read(fds[0], &c, 1) == 1;) report += c;
  ::close(fds[0]);
  int status = 0;
  ::waitpid(pid, &status, 0);
  CHECK(report == "");
  CHECK(status == 0);
}

// What the refusal of a set-up says.
std::string refusal(const std::function<void()>& set_up) {
  ScratchDir scratch;
  const Child child(set_up);
  REQUIRE(child.report() == "");
  const auto checkpoint = collect(child, scratch.dir());
  REQUIRE_FALSE(checkpoint);
  CHECK(checkpoint.error().code == ENOTSUP);
  CHECK(checkpoint.error().what.find(fmt::format("pid {}", child.pid())) != std::string::npos);
  return checkpoint.error().what;
}

bool open_at(int number) { return ::fcntl(number, F_GETFD) >= 0; }

}  // namespace

TEST_CASE("regular files keep offset, flags, sharing and numbers") {
  ScratchDir scratch;
  scratch.write("data", "0123456789");
  const std::string path = scratch.path() / "data";
  round_trip(
      [&] {
        CHILD_CHECK(::open(path.c_str(), O_RDWR | O_APPEND) == 3);
        CHILD_CHECK(::lseek(3, 4, SEEK_SET) == 4);
        CHILD_CHECK(::fcntl(3, F_DUPFD_CLOEXEC, 40) == 40);
        CHILD_CHECK(::open(path.c_str(), O_RDONLY | O_NONBLOCK) == 4);
        CHILD_CHECK(::open(scratch.path().c_str(), O_RDONLY | O_DIRECTORY) == 5);
        CHILD_CHECK(::open(path.c_str(), O_PATH) == 6);
        CHILD_CHECK(::open("/dev/urandom", O_RDONLY) == 7);
      },
      [&] {
        CHILD_CHECK(open_at(2) && !open_at(8) && !open_at(39) && !open_at(41));
        CHILD_CHECK(::lseek(40, 0, SEEK_CUR) == 4);
        CHILD_CHECK(::lseek(3, 6, SEEK_SET) == 6 && ::lseek(40, 0, SEEK_CUR) == 6 && ::lseek(4, 0, SEEK_CUR) == 0);
        CHILD_CHECK((::fcntl(3, F_GETFL) & (O_ACCMODE | O_APPEND)) == (O_RDWR | O_APPEND));
        CHILD_CHECK((::fcntl(4, F_GETFL) & (O_ACCMODE | O_NONBLOCK)) == (O_RDONLY | O_NONBLOCK));
        CHILD_CHECK(::fcntl(3, F_GETFD) == 0 && ::fcntl(40, F_GETFD) == FD_CLOEXEC);
        CHILD_CHECK(::fcntl(6, F_GETFL) & O_PATH);
        char c;
        CHILD_CHECK(::read(40, &c, 1) == 1 && c == '6');
        CHILD_CHECK(::openat(5, "data", O_RDONLY) == 8 && ::read(7, &c, 1) == 1);
      });
}

TEST_CASE("a file that changed its size is not opened") {
  ScratchDir scratch, images;
  scratch.write("data", "0123456789");
  const std::string path = scratch.path() / "data";
  const Child child([&] { CHILD_CHECK(::open(path.c_str(), O_RDONLY) == 3); });
  const image::ImageDir dir = images.dir();
  const auto checkpoint = collect(child, dir);
  REQUIRE(checkpoint);
  scratch.write("data", "012");
  const auto plan = FileRebuilder::plan(*checkpoint, dir, {});
  REQUIRE_FALSE(plan);
  CHECK(image::has(plan.error().what, path));
  CHECK(FileRebuilder::plan(*checkpoint, dir, {.validate_size = false}));
}

TEST_CASE("deleted files come back deleted, with contents and sharing of the inode") {
  ScratchDir scratch;
  const std::string path = scratch.path() / "gone", large = scratch.path() / "large";
  round_trip(
      [&] {
        CHILD_CHECK(::open(path.c_str(), O_RDWR | O_CREAT, 0640) == 3 && ::write(3, "abc", 3) == 3);
        CHILD_CHECK(::open(path.c_str(), O_RDONLY) == 4 && ::unlink(path.c_str()) == 0);
        CHILD_CHECK(::open(large.c_str(), O_RDWR | O_CREAT, 0600) == 5 && ::pwrite(5, "end", 3, 300'000) == 3 && ::unlink(large.c_str()) == 0);
      },
      [&] {
        char text[4] = {};
        CHILD_CHECK(::lseek(3, 0, SEEK_CUR) == 3 && ::pread(4, text, 4, 0) == 3 && std::strcmp(text, "abc") == 0);
        CHILD_CHECK(::write(3, "d", 1) == 1 && ::pread(4, text, 4, 0) == 4);
        struct stat st;
        CHILD_CHECK(::fstat(3, &st) == 0 && st.st_nlink == 0 && (st.st_mode & 07777) == 0640);
        CHILD_CHECK(::pread(5, text, 4, 300'000) == 3 && std::memcmp(text, "end", 3) == 0 && ::fstat(5, &st) == 0 && st.st_size == 300'003);
        char link[256] = {};
        CHILD_CHECK(::readlink("/proc/self/fd/4", link, sizeof link) > 0 && path + " (deleted)" == link);
      });
  CHECK(std::filesystem::is_empty(scratch.path()));
}

TEST_CASE("memfds keep size, offset, seals and sharing") {
  round_trip(
      [] {
        CHILD_CHECK(::memfd_create("m", MFD_ALLOW_SEALING) == 3 && ::ftruncate(3, 5000) == 0 && ::lseek(3, 7, SEEK_SET) == 7);
        CHILD_CHECK(::fcntl(3, F_ADD_SEALS, F_SEAL_GROW) == 0 && ::open("/proc/self/fd/3", O_RDONLY) == 4);
      },
      [] {
        struct stat a, b;
        CHILD_CHECK(::fstat(3, &a) == 0 && ::fstat(4, &b) == 0 && a.st_ino == b.st_ino && a.st_size == 5000);
        CHILD_CHECK(::lseek(3, 0, SEEK_CUR) == 7 && (::fcntl(4, F_GETFL) & O_ACCMODE) == O_RDONLY);
        char link[256] = {};
        CHILD_CHECK(::readlink("/proc/self/fd/3", link, sizeof link) > 0 && std::strcmp(link, "/memfd:m (deleted)") == 0);
      });
}

TEST_CASE("pipes keep contents, capacity, flags; missing ends stay missing") {
  round_trip(
      [] {
        int p[2], q[2];
        CHILD_CHECK(::pipe2(p, O_NONBLOCK) == 0 && ::fcntl(4, F_SETPIPE_SZ, 131072) == 131072);
        CHILD_CHECK(::write(4, "one", 3) == 3 && ::write(4, "two", 3) == 3);
        CHILD_CHECK(::pipe(q) == 0 && ::close(5) == 0);
      },
      [] {
        char text[8] = {};
        CHILD_CHECK(::fcntl(3, F_GETPIPE_SZ) == 131072 && (::fcntl(3, F_GETFL) & O_NONBLOCK) && !(::fcntl(6, F_GETFL) & O_NONBLOCK));
        CHILD_CHECK(::read(3, text, 8) == 6 && std::strcmp(text, "onetwo") == 0);
        CHILD_CHECK(::write(4, "x", 1) == 1 && ::read(3, text, 8) == 1);
        ::signal(SIGPIPE, SIG_IGN);
        CHILD_CHECK(::write(6, "x", 1) < 0 && errno == EPIPE);
      });
}

TEST_CASE("pipes in packet mode keep their packets") {
  round_trip(
      [] {
        int p[2];
        CHILD_CHECK(::pipe2(p, O_DIRECT) == 0 && ::write(4, "one", 3) == 3 && ::write(4, "two!", 4) == 4);
        CHILD_CHECK(::pipe2(p, O_DIRECT) == 0 && ::write(6, "single", 6) == 6);
      },
      [] {
        char text[8] = {};
        CHILD_CHECK(::fcntl(4, F_GETFL) & O_DIRECT);
        CHILD_CHECK(::read(3, text, 8) == 3 && ::write(4, "x", 1) == 1 && ::read(3, text, 8) == 4 && ::read(3, text, 8) == 1);
        CHILD_CHECK(::write(6, "y", 1) == 1 && ::read(5, text, 8) == 6 && ::read(5, text, 8) == 1);
      });
}

TEST_CASE("shared anonymous memory and mapped files are found through map_files") {
  ScratchDir scratch, images;
  scratch.write("data", std::string(kPageSize, 'x'));
  const std::string path = scratch.path() / "data";
  const Child child([&] {
    CHILD_CHECK(::open(path.c_str(), O_RDWR) == 3);
    CHILD_CHECK(::mmap(nullptr, kPageSize, PROT_READ, MAP_SHARED, 3, 0) != MAP_FAILED && ::close(3) == 0);
    CHILD_CHECK(::mmap(nullptr, 3 * kPageSize, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0) != MAP_FAILED);
  });
  const image::ImageDir dir = images.dir();
  FileCollector collector({});
  REQUIRE(collector.tasks({child.pid()}));
  uint32_t file = 0, memory = 0;
  const auto areas = sys::read_maps(child.pid());
  REQUIRE(areas);
  for (const sys::Area& area : *areas) {
    const std::string link = fmt::format("/proc/{}/map_files/{:x}-{:x}", child.pid(), area.start, area.end);
    if (area.name == path) file = collector.path_file(link, O_RDWR).value_or(0);
    if (area.name == "/dev/zero (deleted)") memory = collector.shared_memory(link, O_RDWR).value_or(0);
  }
  REQUIRE(file != 0);
  REQUIRE(memory != 0);
  REQUIRE(collector.complete());
  const auto objects = collector.take_shared_objects();
  REQUIRE(objects.size() == 1);
  CHECK(objects[0].size == 3 * kPageSize);
  REQUIRE(collector.write(dir));
  image::Checkpoint c;
  const auto entries = image::read_all<image::FileEntry>(dir, "files.img", image::kFiles);
  const auto inodes = image::read_all<image::MemfdInodeEntry>(dir, "memfd.img", image::kMemfdInode);
  REQUIRE((entries && inodes));
  for (const auto& entry : *entries) c.files.emplace(entry.id, entry);
  c.memfds = *inodes;
  auto files = FileRebuilder::plan(c, dir, {});
  REQUIRE(files);
  REQUIRE(files->open_all(kFirstFd));
  struct stat st;
  REQUIRE(::fstat(files->fd_of(memory), &st) == 0);
  CHECK(st.st_size == 3 * kPageSize);
  CHECK(sys::read_link(fmt::format("/proc/self/fd/{}", files->fd_of(memory))).value() == "/dev/zero (deleted)");
  CHECK(sys::read_link(fmt::format("/proc/self/fd/{}", files->fd_of(file))).value() == path);
  REQUIRE(files->shared_objects().size() == 1);
  CHECK(files->shared_objects()[0].first == objects[0].shmid);
}

TEST_CASE("a pipe whose other end is outside of the tree is refused") {
  int p[2];
  REQUIRE(::pipe(p) == 0);
  const UniqueFd read(p[0]), write(p[1]);
  const std::string path = fmt::format("/proc/{}/fd/{}", ::getpid(), p[1]);
  CHECK(image::has(refusal([&] { CHILD_CHECK(::open(path.c_str(), O_WRONLY) == 3); }), "outside the tree"));
}

TEST_CASE("eventfds, timerfds, signalfds") {
  round_trip(
      [] {
        CHILD_CHECK(::eventfd(0, EFD_NONBLOCK) == 3 && ::eventfd(5, EFD_SEMAPHORE) == 4);
        const uint64_t large = uint64_t{1} << 40;
        CHILD_CHECK(::write(3, &large, 8) == 8);
        CHILD_CHECK(::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK) == 5);
        const itimerspec spec = {.it_interval = {7, 5}, .it_value = {1000, 0}};
        CHILD_CHECK(::timerfd_settime(5, 0, &spec, nullptr) == 0);
        sigset_t set;
        sigemptyset(&set), sigaddset(&set, SIGUSR1), sigaddset(&set, 40);
        CHILD_CHECK(::signalfd(-1, &set, SFD_NONBLOCK) == 6 && ::sigprocmask(SIG_BLOCK, &set, nullptr) == 0);
      },
      [] {
        uint64_t value = 0;
        CHILD_CHECK(::read(3, &value, 8) == 8 && value == uint64_t{1} << 40 && ::read(3, &value, 8) < 0 && errno == EAGAIN);
        CHILD_CHECK(::read(4, &value, 8) == 8 && value == 1);
        itimerspec spec;
        CHILD_CHECK(::timerfd_gettime(5, &spec) == 0 && spec.it_interval.tv_sec == 7 && spec.it_interval.tv_nsec == 5);
        CHILD_CHECK(spec.it_value.tv_sec > 900 && spec.it_value.tv_sec <= 1000);
        sigset_t set;
        sigemptyset(&set), sigaddset(&set, 40);
        ::sigprocmask(SIG_BLOCK, &set, nullptr);
        signalfd_siginfo info;
        CHILD_CHECK(::read(6, &info, sizeof info) < 0 && errno == EAGAIN && ::raise(40) == 0);
        CHILD_CHECK(::read(6, &info, sizeof info) == sizeof info && info.ssi_signo == 40);
      });
}

TEST_CASE("epoll watches the same files, also one whose number was closed") {
  round_trip(
      [] {
        int p[2];
        CHILD_CHECK(::epoll_create1(0) == 3 && ::eventfd(0, 0) == 4 && ::pipe(p) == 0);
        epoll_event e = {.events = EPOLLIN, .data = {.u64 = 0x1122334455667788}};
        CHILD_CHECK(::epoll_ctl(3, EPOLL_CTL_ADD, 4, &e) == 0);
        e = {.events = EPOLLIN | EPOLLET, .data = {.u64 = 2}};
        CHILD_CHECK(::epoll_ctl(3, EPOLL_CTL_ADD, 5, &e) == 0);
        CHILD_CHECK(::dup2(5, 20) == 20 && ::dup2(4, 5) == 5);  // the pipe is number 20 now, and 5 something else
      },
      [] {
        epoll_event e[4];
        CHILD_CHECK(::epoll_wait(3, e, 4, 0) == 0);
        const uint64_t one = 1;
        CHILD_CHECK(::write(5, &one, 8) == 8 && ::epoll_wait(3, e, 4, 0) == 1 && e[0].data.u64 == 0x1122334455667788);
        uint64_t value;
        CHILD_CHECK(::read(4, &value, 8) == 8 && ::write(6, "x", 1) == 1 && ::epoll_wait(3, e, 4, 0) == 1 && e[0].data.u64 == 2);
        CHILD_CHECK(::epoll_wait(3, e, 4, 0) == 0);  // edge triggered
      });
}

TEST_CASE("a target of epoll that fired once stays quiet") {
  round_trip(
      [] {
        CHILD_CHECK(::epoll_create1(0) == 3 && ::eventfd(1, 0) == 4 && ::eventfd(1, 0) == 5);
        epoll_event e = {.events = EPOLLIN, .data = {.u64 = 5}};
        CHILD_CHECK(::epoll_ctl(3, EPOLL_CTL_ADD, 5, &e) == 0 && ::epoll_ctl(3, EPOLL_CTL_DEL, 5, nullptr) == 0);
        epoll_event once = {.events = EPOLLIN | EPOLLONESHOT, .data = {.u64 = 4}};
        CHILD_CHECK(::epoll_ctl(3, EPOLL_CTL_ADD, 4, &once) == 0 && ::epoll_wait(3, &once, 1, 0) == 1 && ::epoll_ctl(3, EPOLL_CTL_ADD, 5, &e) == 0);
      },
      [] {
        epoll_event e[4];
        CHILD_CHECK(::epoll_wait(3, e, 4, 0) == 1 && e[0].data.u64 == 5);
        epoll_event again = {.events = EPOLLIN, .data = {.u64 = 4}};
        CHILD_CHECK(::epoll_ctl(3, EPOLL_CTL_MOD, 4, &again) == 0 && ::epoll_wait(3, e, 4, 0) == 2);
      });
}

TEST_CASE("internet sockets keep addresses and options") {
  // The ports that the kernel gave to the first child, for the second one: fixed ones may be taken, or wait for old connections.
  auto shared = Mapping::map(kPageSize, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0, "ports");
  REQUIRE(shared);
  auto* ports = reinterpret_cast<in_port_t*>(shared->data());
  round_trip(
      [ports] {
        CHILD_CHECK(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0) == 3 && ::socket(AF_INET6, SOCK_DGRAM, 0) == 4 && ::socket(AF_INET, SOCK_STREAM, 0) == 5);
        sockaddr_in in = {.sin_family = AF_INET, .sin_port = 0, .sin_addr = {htonl(INADDR_LOOPBACK)}, .sin_zero = {}};
        CHILD_CHECK(::bind(3, reinterpret_cast<sockaddr*>(&in), sizeof in) == 0 && ::listen(3, 17) == 0);
        sockaddr_in6 in6 = {};
        in6.sin6_family = AF_INET6;
        in6.sin6_addr = in6addr_loopback;
        const int one = 1;
        CHILD_CHECK(::setsockopt(4, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one) == 0 && ::bind(4, reinterpret_cast<sockaddr*>(&in6), sizeof in6) == 0);
        socklen_t size = sizeof in, size6 = sizeof in6;
        CHILD_CHECK(::getsockname(3, reinterpret_cast<sockaddr*>(&in), &size) == 0 && ::getsockname(4, reinterpret_cast<sockaddr*>(&in6), &size6) == 0);
        ports[0] = in.sin_port;
        ports[1] = in6.sin6_port;
        CHILD_CHECK(::setsockopt(5, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one) == 0 && ::setsockopt(5, IPPROTO_TCP, 1 /* TCP_NODELAY */, &one, sizeof one) == 0);
      },
      [ports] {
        int value = 0;
        socklen_t size = sizeof value;
        CHILD_CHECK(::getsockopt(3, SOL_SOCKET, SO_ACCEPTCONN, &value, &size) == 0 && value == 1);
        CHILD_CHECK(::getsockopt(3, SOL_SOCKET, SO_REUSEADDR, &value, &size) == 0 && value == 0);
        CHILD_CHECK(::getsockopt(5, SOL_SOCKET, SO_KEEPALIVE, &value, &size) == 0 && value == 1);
        CHILD_CHECK(::getsockopt(4, IPPROTO_IPV6, IPV6_V6ONLY, &value, &size) == 0 && value == 1);
        sockaddr_in in = {};
        socklen_t length = sizeof in;
        CHILD_CHECK(::getsockname(3, reinterpret_cast<sockaddr*>(&in), &length) == 0 && in.sin_port == ports[0]);
        CHILD_CHECK(::connect(5, reinterpret_cast<sockaddr*>(&in), length) == 0 && ::accept(3, nullptr, nullptr) == 6);
        sockaddr_in6 in6 = {};
        length = sizeof in6;
        CHILD_CHECK(::getsockname(4, reinterpret_cast<sockaddr*>(&in6), &length) == 0 && in6.sin6_port == ports[1]);
      });
}

TEST_CASE("an established TCP connection is refused") {
  const std::string why = refusal([] {
    CHILD_CHECK(::socket(AF_INET, SOCK_STREAM, 0) == 3 && ::listen(3, 1) == 0);
    sockaddr_in in = {};
    socklen_t size = sizeof in;
    CHILD_CHECK(::getsockname(3, reinterpret_cast<sockaddr*>(&in), &size) == 0);
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHILD_CHECK(::socket(AF_INET, SOCK_STREAM, 0) == 4 && ::connect(4, reinterpret_cast<sockaddr*>(&in), size) == 0);
    CHILD_CHECK(::accept(3, nullptr, nullptr) == 5 && ::close(3) == 0);
  });
  CHECK(image::has(why, "--tcp-established"));
}

TEST_CASE("unix socket pairs keep what is queued, and peeking leaves it there") {
  ScratchDir scratch;
  const auto set_up = [] {
    int p[2];
    CHILD_CHECK(::socketpair(AF_UNIX, SOCK_STREAM, 0, p) == 0 && ::write(3, "stream", 6) == 6);
    CHILD_CHECK(::socketpair(AF_UNIX, SOCK_SEQPACKET, 0, p) == 0 && ::write(5, "a", 1) == 1 && ::write(5, "bc", 2) == 2);
    CHILD_CHECK(::socketpair(AF_UNIX, SOCK_DGRAM, 0, p) == 0 && ::write(8, "de", 2) == 2 && ::write(8, "f", 1) == 1);
    CHILD_CHECK(::socketpair(AF_UNIX, SOCK_STREAM, 0, p) == 0 && ::write(10, "last", 4) == 4 && ::close(10) == 0);
  };
  {
    const Child child(set_up);
    REQUIRE(collect(child, scratch.dir()));
    const auto again = collect(child, scratch.dir());
    REQUIRE(again);
    CHECK(again->packets.size() == 6);
  }
  round_trip(set_up, [] {
    char text[16] = {};
    CHILD_CHECK(::read(4, text, 16) == 6 && std::memcmp(text, "stream", 6) == 0);
    CHILD_CHECK(::read(6, text, 16) == 1 && ::read(6, text, 16) == 2 && std::memcmp(text, "bc", 2) == 0);
    CHILD_CHECK(::read(7, text, 16) == 2 && ::read(7, text, 16) == 1 && text[0] == 'f');
    CHILD_CHECK(::read(9, text, 16) == 4 && ::read(9, text, 16) == 0);
    CHILD_CHECK(::write(4, "x", 1) == 1 && ::read(3, text, 16) == 1 && !open_at(10));
  });
}

TEST_CASE("unix sockets keep their names, accepted ones too") {
  ScratchDir scratch;
  const std::string path = scratch.path() / "socket";
  sockaddr_un file = {}, abstract = {};
  file.sun_family = abstract.sun_family = AF_UNIX;
  std::strcpy(file.sun_path, path.c_str());
  std::strcpy(abstract.sun_path + 1, "faultline-files-test");
  const socklen_t abstract_size = offsetof(sockaddr_un, sun_path) + 1 + 20;
  round_trip(
      [&] {
        CHILD_CHECK(::socket(AF_UNIX, SOCK_STREAM, 0) == 3 && ::bind(3, reinterpret_cast<sockaddr*>(&file), sizeof file) == 0 && ::listen(3, 5) == 0);
        CHILD_CHECK(::chmod(path.c_str(), 0741) == 0);
        CHILD_CHECK(::socket(AF_UNIX, SOCK_STREAM, 0) == 4 && ::connect(4, reinterpret_cast<sockaddr*>(&file), sizeof file) == 0);
        CHILD_CHECK(::accept(3, nullptr, nullptr) == 5 && ::write(4, "hello", 5) == 5);
        CHILD_CHECK(::socket(AF_UNIX, SOCK_STREAM, 0) == 6 && ::connect(6, reinterpret_cast<sockaddr*>(&file), sizeof file) == 0);  // waits
        CHILD_CHECK(::socket(AF_UNIX, SOCK_DGRAM, 0) == 7 && ::bind(7, reinterpret_cast<sockaddr*>(&abstract), abstract_size) == 0);
        CHILD_CHECK(::socket(AF_UNIX, SOCK_DGRAM, 0) == 8 && ::connect(8, reinterpret_cast<sockaddr*>(&abstract), abstract_size) == 0);
        CHILD_CHECK(::write(8, "datagram", 8) == 8);
      },
      [&] {
        char text[16] = {};
        sockaddr_un name = {};
        socklen_t size = sizeof name;
        CHILD_CHECK(::getsockname(5, reinterpret_cast<sockaddr*>(&name), &size) == 0 && path == name.sun_path);
        CHILD_CHECK(::read(5, text, 16) == 5 && ::write(5, "x", 1) == 1 && ::read(4, text, 16) == 1);
        CHILD_CHECK(::accept(3, nullptr, nullptr) == 9 && ::write(6, "y", 1) == 1 && ::read(9, text, 16) == 1);
        CHILD_CHECK(::read(7, text, 16) == 8 && ::write(8, "z", 1) == 1 && ::read(7, text, 16) == 1);
        struct stat st;
        CHILD_CHECK(::stat(path.c_str(), &st) == 0 && (st.st_mode & 0777) == 0741);
        CHILD_CHECK(::socket(AF_UNIX, SOCK_STREAM, 0) == 10 && ::connect(10, reinterpret_cast<sockaddr*>(&file), sizeof file) == 0);
      });
}

TEST_CASE("descriptors in flight and file locks are refused") {
  CHECK(image::has(refusal([] {
                     int p[2];
                     CHILD_CHECK(::socketpair(AF_UNIX, SOCK_STREAM, 0, p) == 0);
                     char c = 'x', control[CMSG_SPACE(sizeof(int))] = {};
                     iovec vec = {&c, 1};
                     msghdr message = {};
                     message.msg_iov = &vec, message.msg_iovlen = 1, message.msg_control = control, message.msg_controllen = sizeof control;
                     cmsghdr* head = CMSG_FIRSTHDR(&message);
                     head->cmsg_level = SOL_SOCKET, head->cmsg_type = SCM_RIGHTS, head->cmsg_len = CMSG_LEN(sizeof(int));
                     const int fd = 0;
                     std::memcpy(CMSG_DATA(head), &fd, sizeof fd);
                     CHILD_CHECK(::sendmsg(3, &message, 0) == 1);
                   }),
                   "have not been received"));
  ScratchDir scratch;
  scratch.write("data", "x");
  const std::string path = scratch.path() / "data";
  CHECK(image::has(refusal([&] {
                     CHILD_CHECK(::open(path.c_str(), O_RDWR) == 3);
                     struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1, .l_pid = 0};
                     CHILD_CHECK(::fcntl(3, F_SETLK, &lock) == 0);
                   }),
                   "lock"));
}

TEST_CASE("FIFOs keep contents and do not wait for the other end") {
  ScratchDir scratch;
  const std::string path = scratch.path() / "fifo";
  round_trip(
      [&] {
        CHILD_CHECK(::mkfifo(path.c_str(), 0600) == 0 && ::open(path.c_str(), O_RDONLY | O_NONBLOCK) == 3 && ::open(path.c_str(), O_WRONLY) == 4);
        CHILD_CHECK(::write(4, "fifo", 4) == 4 && ::fcntl(3, F_SETFL, 0) == 0);
      },
      [] {
        char text[8] = {};
        CHILD_CHECK(!(::fcntl(3, F_GETFL) & O_NONBLOCK) && (::fcntl(4, F_GETFL) & O_ACCMODE) == O_WRONLY);
        CHILD_CHECK(::read(3, text, 8) == 4 && std::strcmp(text, "fifo") == 0 && ::close(4) == 0 && ::read(3, text, 8) == 0);
      });
}

TEST_CASE("inotify keeps its watches and their numbers") {
  ScratchDir scratch;
  const std::string a = scratch.path() / "a", b = scratch.path() / "b";
  scratch.write("a", "");
  scratch.write("b", "");
  round_trip(
      [&] {
        CHILD_CHECK(::inotify_init1(IN_NONBLOCK) == 3 && ::inotify_add_watch(3, a.c_str(), IN_MODIFY) == 1 && ::inotify_add_watch(3, b.c_str(), IN_ATTRIB) == 2);
        CHILD_CHECK(::inotify_rm_watch(3, 1) == 0 && ::inotify_add_watch(3, a.c_str(), IN_MODIFY | IN_ONESHOT) == 3);
        char events[512];
        CHILD_CHECK(::read(3, events, sizeof events) > 0);
      },
      [&] {
        alignas(inotify_event) char events[512];
        CHILD_CHECK(::read(3, events, sizeof events) < 0 && errno == EAGAIN);
        CHILD_CHECK(::chmod(b.c_str(), 0600) == 0 && ::read(3, events, sizeof events) > 0 && reinterpret_cast<inotify_event*>(events)->wd == 2);
        CHILD_CHECK(::truncate(a.c_str(), 5) == 0 && ::read(3, events, sizeof events) > 0 && reinterpret_cast<inotify_event*>(events)->wd == 3);
        CHILD_CHECK(::inotify_add_watch(3, "/", IN_MODIFY) == 4);
      });
}

TEST_CASE("pseudo-terminals keep number, settings and session") {
  static char name[64];  // the child's copy is what the second child cannot see: the number is checked by the kernel's own link
  round_trip(
      [] {
        CHILD_CHECK(::setsid() == ::getpid() && ::posix_openpt(O_RDWR | O_NOCTTY) == 3 && ::unlockpt(3) == 0 && ::ptsname_r(3, name, sizeof name) == 0);
        CHILD_CHECK(::open(name, O_RDWR) == 4);
        winsize size = {.ws_row = 41, .ws_col = 17, .ws_xpixel = 0, .ws_ypixel = 0};
        CHILD_CHECK(::ioctl(3, TIOCSWINSZ, &size) == 0);
        termios t;
        CHILD_CHECK(::tcgetattr(4, &t) == 0);
        t.c_lflag &= ~static_cast<tcflag_t>(ECHO);
        t.c_cc[VINTR] = 9;
        CHILD_CHECK(::tcsetattr(4, TCSANOW, &t) == 0);
      },
      [] {
        winsize size;
        termios t;
        char link[64] = {}, of_master[64];
        CHILD_CHECK(::ioctl(4, TIOCGWINSZ, &size) == 0 && size.ws_row == 41 && size.ws_col == 17);
        CHILD_CHECK(::tcgetattr(4, &t) == 0 && !(t.c_lflag & ECHO) && t.c_cc[VINTR] == 9);
        CHILD_CHECK(::readlink("/proc/self/fd/4", link, sizeof link) > 0 && ::ptsname_r(3, of_master, sizeof of_master) == 0 && std::strcmp(link, of_master) == 0);
        CHILD_CHECK(::tcgetsid(4) == ::getpid() && ::open("/dev/tty", O_RDWR) == 5);
        CHILD_CHECK(::write(3, "in\n", 3) == 3 && ::read(4, link, sizeof link) == 3);
      });
}

TEST_CASE("a terminal from outside is refused without --shell-job") {
  const UniqueFd master(::posix_openpt(O_RDWR | O_NOCTTY));
  REQUIRE(master);
  REQUIRE(::unlockpt(master.get()) == 0);
  const std::string name = ::ptsname(master.get());
  CHECK(image::has(refusal([&] { CHILD_CHECK(::open(name.c_str(), O_RDWR | O_NOCTTY) == 3); }), "--shell-job"));
}

TEST_CASE("kinds that are not known are refused by name") {
  CHECK(image::has(refusal([] { CHILD_CHECK(::syscall(SYS_pidfd_open, ::getpid(), 0) == 3); }), "descriptor 3 ("));
}

}  // namespace faultline::objects
