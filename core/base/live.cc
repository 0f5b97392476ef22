#include "core/base/live.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <optional>

#include "core/base/log.h"
#include "core/base/unique_fd.h"

namespace faultline {

namespace {

constexpr const char* kEnding = ".counters";

template <size_t size>
void put(char (&to)[size], const std::string& text) {
  to[text.copy(to, size - 1)] = 0;
}

// Whether nobody has the file mapped. Its lock belongs to the open file that the mappings hold.
bool is_dead(int fd) { return ::flock(fd, LOCK_EX | LOCK_NB) == 0; }

// The text of a fixed array that somebody else wrote.
std::string text_in(const char* from, size_t size) { return std::string(from, ::strnlen(from, size)); }

using Dir = std::unique_ptr<DIR, decltype([](DIR* d) { ::closedir(d); })>;

// The view of a living one; removes a dead one's file.
std::optional<LiveView> look_at(const std::string& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  struct stat status;
  uint64_t magic = 0;
  if (!fd || ::fstat(fd.get(), &status) < 0 || !S_ISREG(status.st_mode)) return std::nullopt;
  if (::pread(fd.get(), &magic, sizeof magic, 0) != sizeof magic || magic != LivePage::kMagic) return std::nullopt;
  // Those of other versions are removed too, but not looked into.
  if (is_dead(fd.get())) {
    (void)::unlink(path.c_str());
    return std::nullopt;
  }
  if (status.st_size != sizeof(LivePage)) return std::nullopt;
  auto mapping = Mapping::map(sizeof(LivePage), PROT_READ, MAP_SHARED, fd.get(), 0, "counters");
  if (!mapping) return std::nullopt;
  LiveView view(std::move(*mapping), path);
  if (view.page().version != LivePage::kVersion) return std::nullopt;
  return view;
}

// A file without a name yet, locked and of the right size: it must not be seen before it is whole, or it would be taken for a dead one's.
Result<UniqueFd> nameless(const char* dir) {
  if (::mkdir(dir, 0755) < 0 && errno != EEXIST) return sys_error("cannot make {}", dir);
  UniqueFd fd(::open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0644));
  if (!fd || ::ftruncate(fd.get(), sizeof(LivePage)) < 0) return sys_error("cannot make a file in {}", dir);
  if (::flock(fd.get(), LOCK_SH) < 0) return sys_error("cannot lock a file in {}", dir);
  return fd;
}

// Gives the file the name PID.counters. The name may be taken: by somebody dead, or by the same pid of another pid namespace.
Result<std::string> give_name(int fd, const char* dir) {
  const std::string source = fmt::format("/proc/self/fd/{}", fd);
  for (int attempt = 0; attempt < 100; ++attempt) {
    const std::string path = attempt == 0 ? fmt::format("{}/{}{}", dir, getpid(), kEnding) : fmt::format("{}/{}-{}{}", dir, getpid(), attempt, kEnding);
    for (int again = 0; again < 2; ++again) {
      if (::linkat(AT_FDCWD, source.c_str(), AT_FDCWD, path.c_str(), AT_SYMLINK_FOLLOW) == 0) return path;
      if (errno != EEXIST) return sys_error("cannot make {}", path);
      (void)look_at(path);
    }
  }
  return error(EEXIST, "too many files of pid {} in {}", getpid(), dir);
}

}  // namespace

const char* name_of(LiveKind kind) { return kind == LiveKind::kPager ? "pager" : "server"; }

Result<Live> Live::publish(LiveKind kind, const std::string& name, const std::string& metrics, const char* dir) {
  auto fd = nameless(dir);
  Live live;
  live.mapping_ = TRY(Mapping::map(sizeof(LivePage), PROT_READ | PROT_WRITE, fd ? MAP_SHARED : MAP_SHARED | MAP_ANONYMOUS, fd ? fd->get() : -1, 0, "counters"));
  LivePage& page = live.page();
  page.magic = LivePage::kMagic;
  page.version = LivePage::kVersion;
  page.kind = kind;
  set(page.pid, static_cast<uint64_t>(getpid()));
  page.started = static_cast<uint64_t>(::time(nullptr));
  put(page.name, name);
  put(page.metrics, metrics);
  if (fd) (void)everybody_alive(dir);
  auto path = fd ? give_name(fd->get(), dir) : Result<std::string>(Failure(fd.error()));
  if (path) live.path_ = *path;
  else LOG_INFO("faultline top will not see this process: {}", path.error().what);
  return live;
}

void Live::retire() {
  if (!path_.empty()) (void)::unlink(path_.c_str());
  path_.clear();
}

std::string LiveView::name() const { return text_in(page().name, sizeof page().name); }
std::string LiveView::metrics() const { return text_in(page().metrics, sizeof page().metrics); }

Result<std::vector<LiveView>> everybody_alive(const char* dir) {
  std::vector<LiveView> views;
  const Dir stream(::opendir(dir));
  if (!stream && errno == ENOENT) return views;
  if (!stream) return sys_error("cannot read {}", dir);
  while (const dirent* entry = ::readdir(stream.get())) {
    if (!std::string_view(entry->d_name).ends_with(kEnding)) continue;
    if (auto view = look_at(fmt::format("{}/{}", dir, entry->d_name))) views.push_back(std::move(*view));
  }
  std::ranges::sort(views, [](const LiveView& a, const LiveView& b) {
    return std::pair(a.page().started, get(a.page().pid)) < std::pair(b.page().started, get(b.page().pid));
  });
  return views;
}

}  // namespace faultline
