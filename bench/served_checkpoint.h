#pragma once

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "core/image/checkpoint.h"
#include "pageserver/listing.h"

// What the benchmarks of the page server have in common: a checkpoint, and `faultline page-server` for it.
namespace faultline::bench {

template <typename T>
T check(Result<T> result) {
  if (!result) {
    fprintf(stderr, "%s\n", result.error().what.c_str());
    exit(1);
  }
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

// The folder in which this program lies: those that it needs are not far.
inline std::string program_folder() { return std::filesystem::read_symlink("/proc/self/exe").parent_path(); }

// Starts a program that tells on its descriptor `told` with one byte that it is ready; gives its pid.
// It ends with us. `far`: in a network namespace of its own.
inline pid_t start(std::vector<std::string> words, int told, bool far = false) {
  int ends[2];
  check(pipe2(ends, O_CLOEXEC) == 0 ? Result<void>() : sys_error("cannot create a pipe"));
  const pid_t pid = fork();
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (far) check(unshare(CLONE_NEWNET) == 0 ? Result<void>() : sys_error("cannot create a network namespace"));
    dup2(ends[1], told);
    std::vector<char*> arguments;
    for (std::string& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    execv(arguments[0], arguments.data());
    perror(arguments[0]);
    _exit(1);
  }
  close(ends[1]);
  char ready;
  if (read(ends[0], &ready, 1) != 1) exit(1);  // it has said why
  return pid;  // our end stays open: slow_link works for as long
}

// A checkpoint of which there is only the memory of the process kPid: the pages file, at kBase. Gone with the object.
class ServedCheckpoint {
 public:
  static constexpr uint64_t kPid = 1, kBase = uint64_t{1} << 32;

  ServedCheckpoint() {
    if (!mkdtemp(folder_.data())) perror(folder_.c_str()), exit(1);
  }
  ~ServedCheckpoint() {
    if (getpid() == owner_) std::filesystem::remove_all(folder_);
  }
  ServedCheckpoint(const ServedCheckpoint&) = delete;

  std::string pages_file() const { return folder_ + "/pages-1.img"; }

  // When the pages file is written. `options` are those of page-server; gives its pid.
  pid_t serve(std::vector<std::string> options, bool far = false) {
    const image::ImageDir dir = check(image::ImageDir::open(folder_));
    const uint64_t pages = std::filesystem::file_size(pages_file()) / kPageSize;
    auto pagemap = check(image::Writer::create(dir, pageserver::pagemap_name(pageserver::object_id(kPid, pageserver::kTaskMemory)), image::kPagemap));
    check(pagemap.put(image::PagemapHead{.pages_id = 1}));
    check(pagemap.put(image::PagemapEntry{.vaddr = kBase, .flags = image::kPagePresent, .nr_pages = pages}));
    check(pagemap.close());
    check(image::write_one(dir, image::kInventoryFile, image::kInventory, image::InventoryEntry{.img_version = 2}));
    constexpr int kTold = 100;
    std::vector<std::string> words = {program_folder() + "/../core/cli/faultline", "page-server", "--lazy-pages", "-D", folder_, "--portfile", "port", "--status-fd",
                                      std::to_string(kTold)};
    words.insert(words.end(), options.begin(), options.end());
    const pid_t pid = start(words, kTold, far);
    std::ifstream(folder_ + "/port") >> port_;
    return pid;
  }

  uint16_t port() const { return port_; }

 private:
  const pid_t owner_ = getpid();
  std::string folder_ = std::string(getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp") + "/faultline-served.XXXXXX";
  uint16_t port_ = 0;
};

}  // namespace faultline::bench
