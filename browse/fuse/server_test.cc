#include "browse/fuse/server.h"

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <filesystem>

namespace faultline::browse {
namespace {

namespace fs = std::filesystem;

constexpr int kReaders = 16;

// Reads every file below `path` to its end, and every link. The number of files; what is not readable counts too.
size_t read_all(const fs::path& path) {
  size_t files = 0;
  std::error_code code;
  for (const auto& entry : fs::directory_iterator(path, code)) {
    ++files;
    if (entry.is_symlink(code)) {
      (void)fs::read_symlink(entry.path(), code);
    } else if (entry.is_directory(code)) {
      files += read_all(entry.path());
    } else {
      const UniqueFd fd(::open(entry.path().c_str(), O_RDONLY));
      static char buffer[1 << 16];
      while (::read(fd.get(), buffer, sizeof buffer) > 0) {}
    }
  }
  return files;
}

// A mount namespace of its own; false if there cannot be one, or no FUSE.
bool can_mount() {
  if (::unshare(CLONE_NEWNS) != 0 || ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return false;
  return static_cast<bool>(UniqueFd(::open("/dev/fuse", O_RDWR | O_CLOEXEC)));
}

size_t count(Tree& tree, Node node) {
  if (Tree::type_of(node) != S_IFDIR) return 0;
  const auto folder = tree.folder(node);
  if (!folder) return 0;
  size_t files = (*folder)->count();
  for (size_t i = 0; i < (*folder)->count(); ++i) files += count(tree, (*folder)->at(i).node);
  return files;
}

TEST_CASE("sixteen processes read everything at once, and the mount ends in good order") {
  if (!can_mount()) {
    WARN("nothing can be mounted here");
    return;
  }
  char directory[] = "/tmp/faultline-mount-XXXXXX";
  REQUIRE(::mkdtemp(directory));
  auto snapshot = Snapshot::open(*images_in(GOLDEN_DIR "/criu-4.2-zoo/images"));
  REQUIRE(snapshot);
  Tree tree(**snapshot, {.uid = ::getuid(), .gid = ::getgid()});
  const size_t files = count(tree, Node());
  REQUIRE(files > 100);

  int start[2];
  REQUIRE(::pipe2(start, O_CLOEXEC) == 0);
  std::vector<pid_t> readers;
  {
    const UniqueFd read_end(start[0]);
    UniqueFd write_end(start[1]);
    // Forked before there are threads; told to begin when there is a mount. None of them may hold the pipe open.
    for (int i = 0; i < kReaders; ++i) {
      const pid_t pid = ::fork();
      REQUIRE(pid >= 0);
      if (pid == 0) {
        write_end.reset();
        char byte;
        (void)!::read(read_end.get(), &byte, 1);
        ::_exit(read_all(directory) == files ? 0 : 1);
      }
      readers.push_back(pid);
    }
    auto server = Server::start(tree, {.mountpoint = directory, .source = "test", .allow_other = false});
    REQUIRE(server);
    write_end.reset();
    for (const pid_t pid : readers) {
      int status = -1;
      REQUIRE(::waitpid(pid, &status, 0) == pid);
      CHECK(status == 0);
    }
    CHECK((*server)->unmount());
    CHECK((*server)->join(std::chrono::seconds(60)));
  }
  CHECK(::rmdir(directory) == 0);
}

}  // namespace
}  // namespace faultline::browse
