#include "lazy/test_target.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "uffd/userfault.h"

namespace faultline::lazy::test {

namespace {

void require(bool condition, const char* what) {
  if (condition) return;
  perror(what);
  abort();
}

}  // namespace

UniqueFd make_pages_file(uint64_t pages) {
  UniqueFd file(memfd_create("pages", MFD_CLOEXEC));
  require(static_cast<bool>(file), "memfd_create");
  std::vector<uint64_t> page(512);
  for (uint64_t p = 0; p < pages; ++p) {
    for (uint64_t w = 0; w < 512; ++w) page[w] = stored_word(p, w);
    require(write_all(file.get(), page.data(), kPageSize, "pages").has_value(), "write");
  }
  return file;
}

Target::Target(uint64_t pages, UniqueFd pages_file, Body body, std::optional<uint64_t> missing_from) {
  UniqueFd uffd = begin(pages, body);
  const uint32_t file = *pager_.add_file(std::move(pages_file), "pages-1.img");
  const uint32_t index =
      pager_.add_index(PageIndex::adopt({{.vaddr = address_, .pages = missing_from.value_or(pages), .offset = 0, .file = file}}), false);
  add(std::move(uffd), pages, index, address_);
}

Target::Target(uint64_t pages, RemoteOptions& remote, Body body) {
  UniqueFd uffd = begin(pages, body);
  pager_.set_remote(remote);
  add(std::move(uffd), pages, pager_.add_index(PageIndex::adopt({{.vaddr = 0, .pages = pages, .offset = 0, .file = image::kRemoteFile}}), false, kObject), 0);
}

UniqueFd Target::begin(uint64_t pages, const Body& body) {
  int tell[2], go[2];
  require(pipe2(tell, O_CLOEXEC) == 0 && pipe2(go, O_CLOEXEC) == 0, "pipe2");
  struct Told {
    Vaddr address;
    int uffd;
  } told;
  pid_ = fork();
  require(pid_ >= 0, "fork");
  if (pid_ == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    close(go[1]);
    auto* const memory = static_cast<std::byte*>(mmap(nullptr, pages * kPageSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    auto fault = uffd::Userfault::create(uffd::kLazyFeatures);
    if (memory == MAP_FAILED || !fault || !fault->register_range(reinterpret_cast<Vaddr>(memory), pages * kPageSize)) _exit(99);
    told = {reinterpret_cast<Vaddr>(memory), fault->get()};
    char c;
    if (write(tell[1], &told, sizeof told) != sizeof told || read(go[0], &c, 1) != 1) _exit(98);
    *fault = uffd::Userfault();
    _exit(body(memory));
  }
  close(tell[1]);
  close(go[0]);
  go_ = UniqueFd(go[1]);
  require(read(tell[0], &told, sizeof told) == sizeof told, "the target did not start");
  close(tell[0]);
  address_ = told.address;
  const UniqueFd pidfd(static_cast<int>(syscall(SYS_pidfd_open, pid_, 0)));
  UniqueFd uffd(static_cast<int>(syscall(SYS_pidfd_getfd, pidfd.get(), told.uffd, 0)));
  require(static_cast<bool>(uffd), "pidfd_getfd");
  return uffd;
}

void Target::add(UniqueFd uffd, uint64_t pages, uint32_t index, Vaddr origin) {
  const auto added = pager_.add(
      {.pid = pid_, .image_pid = pid_, .uffd = std::move(uffd), .areas = {{.start = address_, .length = pages * kPageSize, .index = index, .origin = origin}}});
  require(added.has_value(), "Pager::add");
}

Target::~Target() {
  if (pid_ < 0) return;
  kill(pid_, SIGKILL);
  wait();
}

pid_t Target::serve(const DetachOptions& options) {
  DetachOptions with_log = options;
  with_log.keep_fds.push_back(2);
  const auto guard = pager_.detach(with_log);
  if (!guard) fprintf(stderr, "%s\n", guard.error().what.c_str());
  require(guard.has_value(), "Pager::detach");
  go();
  return *guard;
}

void Target::go() { require(write(go_.get(), "", 1) == 1, "go"); }

int Target::wait() {
  int status = 0;
  waitpid(std::exchange(pid_, -1), &status, 0);
  return status;
}

std::optional<pid_t> wait_for_child(pid_t parent, pid_t other) {
  const std::string path = "/proc/" + std::to_string(parent) + "/task/" + std::to_string(parent) + "/children";
  for (;;) {
    FILE* const file = fopen(path.c_str(), "re");
    int child = 0;
    const bool found = file != nullptr && fscanf(file, "%d", &child) == 1;
    if (file != nullptr) fclose(file);
    if (found && child != other) return child;
    siginfo_t info = {};
    if (waitid(P_PID, static_cast<id_t>(parent), &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == parent) return std::nullopt;
    sched_yield();
  }
}

}  // namespace faultline::lazy::test
